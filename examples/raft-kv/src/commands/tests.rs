//! What the words of a request turn into.

use super::*;
use crate::store::{Condition, SetAnswer};

fn ask(line: &str) -> Outcome {
    let request = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    interpret(request)
}

fn interpret(request: Request) -> Outcome {
    Call::parse(request)?.interpret(&mut Session::new(7))
}

fn set(condition: Condition, answer: SetAnswer) -> Outcome {
    let (key, value) = ("k".into(), "v".into());
    Ok(Action::Write(Write::Set { key, value, condition, answer }))
}

#[test]
fn set_takes_its_options_in_any_order_and_case() {
    assert_eq!(ask("SET k v"), set(Condition::Always, SetAnswer::Outcome));
    assert_eq!(ask("set k v nx"), set(Condition::Absent, SetAnswer::Outcome));
    assert_eq!(ask("set k v XX Get"), set(Condition::Present, SetAnswer::Old));
    assert_eq!(ask("set k v GET NX"), set(Condition::Absent, SetAnswer::Old));
    assert_eq!(ask("set k v NX XX"), Err(CommandError::Syntax));
    assert_eq!(ask("set k v NOW"), Err(CommandError::Syntax));
    assert_eq!(ask("set k v EX 10"), Err(CommandError::Expiry("EX".into())));
}

#[test]
fn every_command_checks_how_many_arguments_it_gets() {
    for command in COMMANDS {
        let minimum = command.arity.unsigned_abs();
        let words = |count: usize| {
            let mut words = vec![Bytes::from(command.name)];
            words.resize(count, "1".into());
            words
        };
        let few = interpret(words(minimum - 1));
        if minimum > 1 {
            assert_eq!(few, Err(CommandError::Arity(command.name)));
        }
        if command.arity > 0 {
            let many = interpret(words(minimum + 1));
            assert_eq!(many, Err(CommandError::Arity(command.name)));
        }
    }
    assert_eq!(ask("mset a 1 b"), Err(CommandError::Arity("mset")));
    assert_eq!(ask("ping a b"), Err(CommandError::Arity("ping")));
    assert_eq!(ask("client setname"), Err(CommandError::Arity("client|setname")));
}

#[test]
fn numbers_in_arguments_must_be_exact() {
    assert_eq!(ask("incrby n 1.0"), Err(CommandError::NotAnInteger));
    assert_eq!(ask("incrby n +1"), Err(CommandError::NotAnInteger));
    assert_eq!(ask("decrby n -9223372036854775808"), Err(CommandError::DecrementOverflow));
    let by = -i64::MAX;
    let add = Write::Add { key: "n".into(), by };
    assert_eq!(ask("decrby n 9223372036854775807"), Ok(Action::Write(add)));
    assert_eq!(ask("select x"), Err(CommandError::NotAnInteger));
    assert_eq!(ask("select 1"), Err(CommandError::Database));
}

#[test]
fn scan_reads_its_options() {
    let scan = |cursor, pattern, count| Ok(Action::Read(Read::Scan { cursor, pattern, count }));
    assert_eq!(ask("scan 0"), scan(0, None, 10));
    assert_eq!(
        ask("scan 18446744073709551615 count 5 match a*"),
        scan(u64::MAX, Some("a*".into()), 5)
    );
    for (line, error) in [
        ("scan x", CommandError::Cursor),
        ("scan -1", CommandError::Cursor),
        ("scan 0 count 0", CommandError::Syntax),
        ("scan 0 count -1", CommandError::Syntax),
        ("scan 0 count x", CommandError::NotAnInteger),
        ("scan 0 match", CommandError::Syntax),
        ("scan 0 type list", CommandError::Syntax),
    ] {
        assert_eq!(ask(line), Err(error), "{line}");
    }
}

#[test]
fn arguments_beyond_the_limits_are_refused() {
    let large = "x".repeat(MAX_VALUE + 1);
    let error = Err(CommandError::ArgumentTooLarge(MAX_VALUE + 1));
    assert_eq!(ask(&format!("set k {large}")), error);
    assert_eq!(ask(&format!("get {large}")), error);
    assert!(ask(&format!("set {} {}", &large[1..], &large[1..])).is_ok());
    let pattern = "x".repeat(MAX_PATTERN + 1);
    assert_eq!(ask(&format!("keys {pattern}")), Err(CommandError::PatternTooLarge));
    assert_eq!(ask(&format!("scan 0 match {pattern}")), Err(CommandError::PatternTooLarge));
}

#[test]
fn an_unknown_command_is_named_and_its_quotation_is_short() {
    let error = ask(&format!("nope a {} b", "x".repeat(1000))).unwrap_err().to_string();
    assert!(error.starts_with("ERR unknown command 'nope', with args beginning with: 'a' 'xxx"));
    assert!(error.len() < 300, "{error}");
}
