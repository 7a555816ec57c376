//! The last of the test programs: says how many tests were left out, why, and how to run them.

fn main() {
    let left_out = dp_tests::LeftOut::take().0;
    for (missing, tests) in &left_out {
        println!("left out for lack of {missing}: {tests}");
    }
    match left_out.values().sum::<usize>() {
        0 => println!("no test was left out for lack of a program"),
        all => {
            println!("{all} tests left out: .ci/run installs what they need, and runs all of them")
        }
    }
    if std::env::var_os("DP_TESTS_REQUIRE").is_none() {
        println!(
            ".ci/run alone runs dp-macros' compile-time messages, and the live page in Chromium"
        );
    }
}
