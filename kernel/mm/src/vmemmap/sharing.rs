//! Which memmap can be shared: the one rule of huge pages and devices (Linux: `hugetlb_vmemmap_optimizable_size`,
//! `vmemmap_can_optimize`).

/// How many pages of a compound page's memmap hold tails and nothing else, and can be one page: all but the first. 0 where
/// there is nothing to share:
/// - two pages of memmap or less: one is the head's, and the other would be the shared one;
/// - a struct page that is not a power of two: tails lie across the edges of pages then, in each page in another way, so
///   that no two pages are the same.
///
/// `1 << order` pages of `page` bytes, each described by `struct_page` bytes.
pub const fn pages_of_tails(order: u32, struct_page: u64, page: u64) -> u64 {
    let memmap = (struct_page << order).div_ceil(page);
    if struct_page.is_power_of_two() && memmap > 2 { memmap - 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand: 64 bytes for each page of 4 KiB are 32 KiB for 2 MiB and 16 MiB for 1 GiB.
    #[test]
    fn all_but_the_first_of_more_than_two_pages_can_be_one() {
        assert_eq!([9, 18].map(|order| pages_of_tails(order, 64, 4 << 10)), [7, 4095]);
        // 2 MiB at 16K is half a page of memmap, at 64K a 32nd; 32 MiB and 512 MiB are eight pages.
        assert_eq!([7, 11].map(|order| pages_of_tails(order, 64, 16 << 10)), [0, 7]);
        assert_eq!([5, 13].map(|order| pages_of_tails(order, 64, 64 << 10)), [0, 7]);
        // 512 KiB at 4K are two pages exactly.
        assert_eq!([7, 8].map(|order| pages_of_tails(order, 64, 4 << 10)), [0, 3]);
    }

    /// The oracle: tails laid out byte by byte, a page compared with the next.
    #[test]
    fn a_struct_page_that_is_no_power_of_two_makes_pages_that_differ() {
        for struct_page in [32u64, 40, 56, 64, 72, 80, 96, 128] {
            let byte = |at: u64| at % struct_page;
            let page = |n: u64| (0..4096).map(move |i| byte(n * 4096 + i));
            let same = (1..7).all(|n| page(n).eq(page(n + 1)));
            assert_eq!(pages_of_tails(9, struct_page, 4096) > 0, same, "{struct_page} bytes");
        }
    }
}
