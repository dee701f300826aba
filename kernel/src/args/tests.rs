//! Boot arguments, right and wrong.

use super::effect::InEffect;
use super::*;

#[test]
fn a_quoted_value_keeps_its_blanks_and_semicolons() {
    let mut args = BootArgs::new();
    args.read(r#"granule=64K  run="selftest; audit" online=manual"#);
    assert_eq!(args.granule, GranuleKind::K64);
    assert_eq!(args.run.as_deref(), Some("selftest; audit"));
    assert!(!args.online_auto && args.complaints.is_empty());
}

#[test]
fn what_is_unknown_or_wrong_is_reported() {
    let mut args = BootArgs::new();
    args.read("quiet memmap=no heap=1 granule=8k");
    assert_eq!(args.complaints.lines().count(), 3);
    assert!(args.complaints.starts_with("unknown boot argument: quiet\n"));
    assert_eq!(args.bad_granule.as_deref(), Some("8k"));
    assert_eq!(args.memmap, MemmapHome::SelfHosted);
}

#[test]
fn persistent_memory_is_mapped_as_ndctl_says_it_or_shorter() {
    let pmem = |line: &str| {
        let mut args = BootArgs::new();
        args.read(line);
        args.complaints.is_empty().then_some(args.pmem)
    };
    assert_eq!(pmem(""), Some(PmemUse::Off));
    for (word, meaning) in [("dev", PmemUse::MapDevice), ("mem", PmemUse::MapMemory)] {
        let mut line = String::<64>::new();
        for form in ["pmem=", "pmem=map="] {
            line.clear();
            write!(line, "pmem=off {form}{word}").expect("fits");
            assert_eq!(pmem(&line), Some(meaning), "{line}");
        }
    }
    assert_eq!(pmem("pmem=dev pmem=off"), Some(PmemUse::Off));
    assert_eq!(pmem("pmem=dev pmem=map=off"), Some(PmemUse::Off));
    for wrong in ["pmem", "pmem=", "pmem=map=", "pmem=map=map=dev", "pmem=on"] {
        assert_eq!(pmem(wrong), None, "{wrong}");
    }
}

#[test]
fn regions_of_the_device_tree_wait_unless_told_otherwise() {
    let mut args = BootArgs::new();
    assert!(!args.hotadd_auto);
    args.read("hotadd=auto");
    assert!(args.hotadd_auto && args.complaints.is_empty());
    args.read("hotadd=manual hotadd=always");
    assert!(!args.hotadd_auto);
    assert_eq!(
        args.complaints.as_str(),
        "boot argument hotadd: 'always' is not one of auto, manual; used: manual\n"
    );
}

#[test]
fn pools_of_huge_pages_are_pairs_of_a_size_and_a_count() {
    let mut args = BootArgs::new();
    assert!(args.hvo && args.hugepages.is_empty());
    args.read("hugepages=2M:16,1G:1 hvo=off");
    assert_eq!(args.hugepages, [(2 << 20, 16), (1 << 30, 1)]);
    assert!(!args.hvo && args.complaints.is_empty());
    for wrong in ["", "2M", "2M:", ":3", "2M:3,", "2M:3:4", "1:1,2:2,3:3,4:4,5:5"] {
        let mut line = String::<64>::new();
        write!(line, "hugepages={wrong}").expect("fits");
        let mut args = BootArgs::new();
        args.read(&line);
        assert!(args.hugepages.is_empty() && args.complaints.contains("hugepages"), "{wrong}");
    }
}

#[test]
fn there_is_at_least_the_boot_cpu() {
    let mut args = BootArgs::new();
    assert_eq!(args.max_cpus, u32::MAX, "all that there are");
    args.read("maxcpus=3");
    assert_eq!((args.max_cpus, args.complaints.as_str()), (3, ""));
    args.read("maxcpus=0 maxcpus=many maxcpus=4294967296");
    assert_eq!((args.max_cpus, args.complaints.lines().count()), (3, 3));
}

/// One line per wrong argument: the value, the legal values or the range, the value that is used.
#[test]
fn a_wrong_value_is_reported_with_the_legal_ones_and_the_one_that_is_used() {
    for (line, complaint) in [
        ("memmap=nowhere", "memmap: 'nowhere' is not one of self, self-range, ram, demand; used: self"),
        ("boot_memmap=x", "boot_memmap: 'x' is not one of self, ram, demand; used: ram"),
        ("online=manual online=yes", "online: 'yes' is not one of auto, manual; used: manual"),
        (
            "pmem=map=mem pmem=on",
            "pmem: 'on' is not one of off, dev, mem, map=off, map=dev, map=mem; used: mem",
        ),
        ("term=vt100", "term: 'vt100' is not one of dumb, ansi; used: dumb"),
        ("bench=", "bench: '' is not one of on, off; used: off"),
        ("hvo=1", "hvo: '1' is not one of on, off; used: on"),
        ("heap=2G", "heap: '2G' is not a size from 64 KiB to 1 GiB; used: 4 MiB"),
        ("heap=64M heap=big", "heap: 'big' is not a size from 64 KiB to 1 GiB; used: 64 MiB"),
        ("maxcpus=0", "maxcpus: '0' is not a number from 1 to 4294967295; used: all"),
        ("maxcpus=2 maxcpus=x", "maxcpus: 'x' is not a number from 1 to 4294967295; used: 2"),
        ("hugepages=2M", "hugepages: '2M' is not a list of up to 4 SIZE:COUNT; used: none"),
        ("bug=none bug=x", "bug: 'x' is not a name that help bugs lists, or none; used: none"),
        ("bug=no-bbm bug=x", "bug: 'x' is not a name that help bugs lists, or none; used: no-bbm"),
    ] {
        let mut args = BootArgs::new();
        args.read(line);
        assert_eq!(
            args.complaints.as_str().strip_prefix("boot argument "),
            Some(&*std::format!("{complaint}\n"))
        );
        assert!(!args.refused, "{line}");
    }
    assert_eq!(MAX_HUGE_SIZES, 4);
}

#[test]
fn wrong_arguments_are_counted_even_where_no_room_is_left_to_say_so() {
    let mut args = BootArgs::new();
    args.read("quiet heap=1");
    assert_eq!(args.wrong, 2);
    for _ in 0..100 {
        args.read("a-key-that-is-as-unknown-as-it-is-long=1");
    }
    assert_eq!(args.wrong, 102);
    assert!(args.complaints.len() <= COMPLAINT_CAPACITY);
}

#[test]
fn only_a_strict_boot_ends_over_a_wrong_argument() {
    for (line, ends) in [
        ("strict=on memmap=ram", false),
        ("quiet", false),
        ("quiet strict=off", false),
        ("quiet strict=on", true),
        ("strict=on quiet", true),
        ("strict=on heap=2G", true),
        ("strict=on strict=yes", true),
        ("strict=on quiet strict=off", false),
    ] {
        let mut args = BootArgs::new();
        args.read(line);
        assert_eq!(args.end_the_boot(), ends, "{line}");
    }
}

#[test]
fn a_quote_that_is_not_closed_is_refused_by_name() {
    for line in ["run=\"state term=dumb", "granule=16k run=\"state", "run=\"mem\" run=\"state\"\" term=dumb"]
    {
        let mut args = BootArgs::new();
        args.read(line);
        assert!(
            args.refused && args.complaints.contains("boot argument run: the closing quote is missing"),
            "{line}"
        );
        assert!(args.run.as_deref() != Some("state term=dumb"), "{line}");
    }
}

#[test]
fn later_arguments_win() {
    let mut args = BootArgs::new();
    args.read("granule=16k granule=4k memmap=ram heap=2M");
    assert_eq!((args.granule, args.memmap, args.heap), (GranuleKind::K4, MemmapHome::Ram, 2 << 20));
}

/// Each argument but those that end the boot, with a value that is not its default.
const OTHER_VALUES: [(&str, &str, InEffect<'static>); 17] = [
    ("granule", "64k", InEffect::Word("64k")),
    ("memmap", "self-range", InEffect::Word("self-range")),
    ("boot_memmap", "demand", InEffect::Word("demand")),
    ("online", "manual", InEffect::Word("manual")),
    ("hotadd", "auto", InEffect::Word("auto")),
    ("virtio_mem", "off", InEffect::Word("off")),
    ("pmem", "map=dev", InEffect::Word("dev")),
    ("hugepages", "2M:3", InEffect::Pools(&[(2 << 20, 3)])),
    ("hvo", "off", InEffect::Word("off")),
    ("run", "\"mem; audit\"", InEffect::Text("mem; audit")),
    ("term", "ansi", InEffect::Word("ansi")),
    ("script", "on", InEffect::Word("on")),
    ("heap", "8M", InEffect::Number(8 << 20)),
    ("maxcpus", "3", InEffect::Number(3)),
    ("bench", "on", InEffect::Word("on")),
    ("strict", "on", InEffect::Word("on")),
    ("bug", "skip-tlbi", InEffect::Word("skip-tlbi")),
];

#[test]
fn each_argument_is_in_effect_as_it_was_given() {
    let defaults = BootArgs::new();
    for ((name, value, wanted), (known, default)) in OTHER_VALUES.into_iter().zip(defaults.in_effect()) {
        assert_eq!(name, known);
        assert_ne!(wanted, default, "{name}");
        let mut args = BootArgs::new();
        let mut line = String::<64>::new();
        write!(line, "{name}={value}").expect("fits");
        args.read(&line);
        assert_eq!(args.complaints.as_str(), "", "{line}");
        for ((name, found), (_, default)) in args.in_effect().into_iter().zip(defaults.in_effect()) {
            assert_eq!(found, if name == known { wanted } else { default }, "{name} after {line}");
        }
    }
}
