use super::*;

#[test]
fn miri_memory_is_not_zero_and_forgets_when_it_is_unplugged() {
    let memory = PhysMemory::default();
    memory.plug(0x8000_0000, 0x20_0000);
    assert_eq!(memory.read(0x801f_fff8), 0xa5a5_a5a5_a5a5_a5a5);
    memory.poke(0x8000_0040, 7);
    assert_eq!((memory.read(0x8000_0040), memory.read(0x8000_0048)), (7, 0xa5a5_a5a5_a5a5_a5a5));
    assert_eq!(memory.unplug(0x8000_0000), 0x8000_0000..0x8020_0000);
    memory.plug(0x8000_0000, 0x20_0000);
    assert_eq!(memory.read(0x8000_0040), 0xa5a5_a5a5_a5a5_a5a5);
}

#[test]
fn miri_an_address_has_a_pointer_and_a_pointer_its_address() {
    let memory = PhysMemory::default();
    memory.plug(0x1000, 0x3000);
    memory.plug(0x10_0000, 0x1000);
    memory.plug(0x8_4020_0000, 1 << 40);
    for pa in [0x1000, 0x3ff8, 0x10_0000, 0x8_4020_0000, 0xff_0000_0000] {
        let ptr = memory.pointer(pa, 8);
        assert_eq!(memory.address_of(ptr), Some(pa));
        assert_eq!(ptr.addr() as u64 % CHUNK, pa % CHUNK, "aligned as the physical address is");
    }
    assert!(memory.is_present(0x1000, 0x3000) && !memory.is_present(0x1000, 0x3001));
    assert!(!memory.is_present(0xff8, 8) && !memory.is_present(0x4000, 8));
}

/// Each of three slabs by itself first; a range of which no slab begins where it begins.
#[test]
fn miri_slabs_that_are_used_together_move_together_with_what_they_hold() {
    let memory = PhysMemory::default();
    memory.plug(0x8010_0000, 0x70_0000);
    let places = [0x8010_0008, 0x8030_0000, 0x8050_0ff0];
    for (value, pa) in (1..).zip(places) {
        memory.poke(pa, value);
    }
    let all = memory.pointer(0x8010_0000, 0x70_0000);
    for (value, pa) in (1..).zip(places) {
        assert_eq!(memory.read(pa), value);
        assert_eq!(memory.pointer(pa, 8).addr() - all.addr(), host(pa - 0x8010_0000));
    }
    assert_eq!(memory.read(0x8070_0000), 0xa5a5_a5a5_a5a5_a5a5, "of the slab that was not touched");
    assert_eq!(memory.pointer(0x8010_0000, 0x70_0000), all, "they stay");
}

#[test]
fn miri_a_copy_is_what_memory_reads_and_touches_nothing() {
    let memory = PhysMemory::default();
    memory.plug(0x8010_0000, 0x70_0000);
    memory.poke(0x801f_fff8, 0x0102_0304_0506_0708);
    let mut bytes = [0; 0x1_0010];
    assert!(memory.copy_out(0x801f_fff0, &mut bytes));
    assert_eq!(
        bytes[..17],
        [[FILL; 8], [8, 7, 6, 5, 4, 3, 2, 1]]
            .as_flattened()
            .iter()
            .chain([&FILL])
            .copied()
            .collect::<Vec<_>>()
    );
    assert!(bytes[16..].iter().all(|byte| *byte == FILL));
    assert_eq!(memory.ranges.borrow()[0].memory.len(), 1, "the slab that was written");
    memory.provide(0x8030_0000, 0x20_0000, false);
    for absent in [0x800f_fff0, 0x802f_fff8, 0x807f_fff8, u64::MAX - 8] {
        assert!(!memory.copy_out(absent, &mut bytes[..16]), "{absent:#x}");
    }
}

#[test]
#[should_panic(expected = "access to withheld memory: 0x803ffff8..0x80400008")]
fn an_access_to_a_part_that_is_withheld_is_a_panic() {
    let memory = PhysMemory::default();
    memory.plug(0x8000_0000, 0x80_0000);
    memory.provide(0x8040_0000, 0x40_0000, false);
    memory.provide(0x8060_0000, 0x20_0000, true);
    memory.pointer(0x8060_0000, 0x20_0000);
    memory.pointer(0x803f_fff8, 16);
}

#[test]
#[should_panic(expected = "access to absent memory: 0x3ff8..0x4008")]
fn an_access_past_the_end_of_a_range_is_a_panic() {
    let memory = PhysMemory::default();
    memory.plug(0x1000, 0x3000);
    memory.pointer(0x3ff8, 16);
}

/// The program ends with a sentence, not with what the allocator says.
#[test]
#[should_panic(expected = "more memory than its host has")]
fn a_host_without_memory_says_so() {
    // 2^62 bytes: more than any host has addresses for.
    drop(std::hint::black_box(Host::of(1 << 41)));
}
