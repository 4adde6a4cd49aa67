//! Apps and what runs of them.

use crate::transcript::Transcript;

#[test]
fn apps() {
    let mut at = Transcript::begin();
    at.run("convox apps");
    at.run("convox apps create other");
    at.run("convox apps create other");
    at.run("convox apps create Not_A_Name!");
    at.run("convox apps info other");
    at.run("convox apps info nope");
    at.run("convox apps params set Speed=fast Colour=red");
    at.run("convox apps params");
    at.run("convox apps params set Speed");
    at.run("convox apps lock other");
    at.run("convox apps delete other");
    at.run("convox apps unlock other");
    at.run("convox apps wait other");
    at.run("convox apps wait nope");
    at.run("convox apps cancel other");
    at.run("convox apps delete other --wait");
    at.run("convox apps delete nope");
    at.run("convox apps");
    at.is("apps");
}

#[test]
fn apps_in_files() {
    let mut at = Transcript::begin();
    at.run("convox env set GREETING=moin");
    at.run("convox apps params set Speed=fast");
    at.run("convox deploy --id > /dev/null 2>&1");
    at.run("convox apps export -f app.tgz");
    at.run("convox apps export > piped.tgz && tar tzf piped.tgz");
    at.run("convox apps export nope -f nope.tgz || ls nope.tgz");
    at.run("convox apps import other -f app.tgz");
    at.run("convox env -a other && convox apps params other && convox apps info other");
    at.run("convox apps import other < app.tgz");
    at.run("convox apps import third -f convox.yml");
    at.run("convox apps import third -f nope.tgz");
    at.run("convox apps");
    at.is("apps-in-files");
}

#[test]
fn processes() {
    let mut at = Transcript::deployed();
    let process = at.process();
    at.run("convox ps");
    at.run("convox ps --stats");
    at.run("convox ps -s nope");
    at.run(&format!("convox ps info {process}"));
    at.run("convox ps info nope");
    at.run(&format!("convox exec {process} 'echo hi; exit 3'"));
    at.run(&format!("convox exec {process} echo hi"));
    at.run("convox exec nope ls");
    at.run("convox exec nope ls 2>/dev/null");
    at.run("convox run web 'echo hi; exit 3'");
    at.run("convox run web ls -l");
    at.run("convox run nope ls");
    at.run("echo text > file");
    at.run(&format!("convox cp file {process}:/tmp/"));
    at.run(&format!("convox cp {process}:/tmp/file copy && cat copy"));
    at.run(&format!("convox cp {process}:/nope copy"));
    at.run(&format!("convox cp {process}:nope copy"));
    at.run("convox cp nope copy");
    at.run(&format!("convox ps stop {process}"));
    at.run("convox ps stop nope");
    at.run("convox run web -d sleep 100");
    at.run("convox run nope -d sleep 100");
    at.run("convox logs --no-follow --filter 'is active'");
    at.run("convox logs --no-follow -a nope");
    at.is("processes");
}

#[test]
fn services() {
    let mut at = Transcript::deployed();
    at.run("convox services");
    at.run("convox services restart web");
    at.run("convox services restart nope");
    at.run("convox restart");
    at.run("convox restart -a nope");
    at.run("convox scale");
    at.run("convox scale web --count 2 --cpu 128");
    at.run("convox scale web");
    at.run("convox scale nope");
    at.run("convox scale nope --count 1");
    at.run("convox scale web --count -3");
    at.run("convox balancers");
    at.run("convox configs");
    at.run("convox config set greeting --value 'good day'");
    at.run("convox config get greeting");
    at.run("convox configs");
    at.run("convox config get nope");
    at.run("convox config set ../greeting --value x");
    at.run("convox config set greeting");
    at.run("convox config set greeting -f nope");
    at.run("convox config");
    at.is("services");
}

#[test]
fn resources() {
    let mut at = Transcript::deployed();
    at.run("convox resources");
    at.run("convox resources info database");
    at.run("convox resources info nope");
    at.run("convox resources url database");
    at.run("convox resources url database --json");
    at.run("convox resources url nope");
    at.run("echo 'select 1' | convox resources console database");
    at.run("convox resources console nope");
    at.run("convox resources export database -f dump");
    at.run("convox resources export nope -f nope || ls nope");
    at.run("convox resources import database -f dump");
    at.run("convox resources import database -f Dockerfile");
    at.run("convox resources import nope < dump");
    at.run("convox resources proxy nope");
    at.is("resources");
}
