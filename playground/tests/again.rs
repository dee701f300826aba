//! A session that is repeated. By itself: `stress` turns the log of the whole process off.

mod page;

use hotmap_playground::Session;
use page::{Page, boot};
use serde_json::json;

/// Going back in history boots again and repeats the requests: what was looked at in between changes nothing.
#[test]
fn the_answers_do_not_depend_on_what_is_looked_at() {
    let requests = [
        boot("4k", "memmap=demand hugepages=2M:2"),
        json!({ "do": "monitor", "text": "plug 1G" }),
        json!({ "do": "line", "text": "tenant new 300; stress 1 7" }),
        json!({ "do": "line", "text": "offline 0x80000000; stress 1" }),
        json!({ "do": "monitor", "text": "unplug 0" }),
        json!({ "do": "state" }),
    ];
    let run = |looks: usize| -> Vec<String> {
        let mut page = Page(Session::new());
        let mut answers = Vec::new();
        for request in &requests {
            answers.push(page.0.call(&request.to_string()));
            for look in ["memory", "tables", "tlb", "audit"].iter().cycle().take(looks) {
                page.ask(&json!({ "do": "view", "name": look, "at": -1 }));
                page.ask(&json!({ "do": "state" }));
                page.ask(&json!({ "do": "trace" }));
            }
        }
        answers
    };
    let plain = run(0);
    assert!(plain[2].contains("clean"), "{}", plain[2]);
    assert_eq!(run(0), plain, "again");
    assert_eq!(run(5), plain, "looked at");
}
