//! Racks, and what belongs to one rather than to an app.

use crate::transcript::Transcript;

#[test]
fn racks() {
    let mut at = Transcript::begin();
    at.run("convox racks");
    at.run("convox switch");
    at.run("convox install --stack-name production");
    at.run("convox install --stack-name production");
    at.run("convox rack install local third");
    at.run("convox rack install aws fourth");
    at.run("convox rack install");
    at.run("convox racks");
    at.run("convox switch");
    at.run("convox switch stag");
    at.run("convox switch --json");
    at.run("convox switch nope");
    at.run("convox switch t");
    at.run(
        "convox login 127.0.0.1:55555"
            .replace("55555", &at.world.port().to_string())
            .as_str(),
    );
    at.run(
        "convox login 127.0.0.1:55555 -p wrong"
            .replace("55555", &at.world.port().to_string())
            .as_str(),
    );
    at.run("convox login");
    at.run("convox rack uninstall third");
    at.run("convox rack uninstall local third --force");
    at.run("convox uninstall production --force");
    at.run("convox uninstall production --force");
    at.run("convox racks");
    at.run("convox version");
    at.run(r#"convox version --json | grep -o '"[a-z]*":'"#);
    at.run("convox update");
    at.run("convox api get /apps");
    at.run("convox api get nope");
    at.run("convox api");
    at.run("convox frobnicate");
    at.is("racks");
}

#[test]
fn rack() {
    let mut at = Transcript::deployed();
    at.run("convox rack");
    at.run("convox rack -r nope");
    at.run("convox rack ps");
    at.run("convox rack ps --all");
    at.run("convox rack releases");
    at.run("convox rack params");
    at.run("convox rack params set Colour=red Speed=fast");
    at.run("convox rack params set Colour");
    at.run("convox rack params set ScheduleRackScaleDown=x");
    at.run("convox rack params");
    at.run("convox rack params -g nope");
    at.run("convox rack faults");
    at.run("convox rack faults set sunny never-healthy@web");
    at.run("convox rack faults set import-corrupt never-healthy@web slow-start-250");
    at.run("convox rack faults");
    at.run("convox rack faults clear crash-loop");
    at.run("convox rack faults clear never-healthy@web");
    at.run("convox rack faults clear");
    at.run("convox rack faults");
    at.run("convox rack scale");
    at.run("convox rack scale --count 1");
    at.run("convox rack scale --count 3");
    at.run("convox rack scale --type big");
    at.run("convox rack update");
    at.run("convox rack update 20200101");
    at.run("convox rack wait");
    at.run("convox rack ca");
    at.run("convox rack ca --trust --untrust");
    at.run("convox rack access --role read --duration-in-hours 1");
    at.run("convox rack access --role read --duration-in-hours 1 --json");
    at.run("convox rack access --role king --duration-in-hours 1");
    at.run("convox rack access --role read");
    at.run("convox rack access");
    at.run("convox rack access key rotate");
    at.run("convox rack access key");
    at.run("convox rack sync");
    at.run("convox rack sync whitelist instances ip");
    at.run("convox rack sync whitelist");
    at.run("convox rack logs --no-follow");
    at.is("rack");
}

#[test]
fn resources_of_the_rack() {
    let mut at = Transcript::deployed();
    at.run("convox rack resources");
    at.run("convox rack resources types");
    at.run("convox rack resources options redis");
    at.run("convox rack resources options nope");
    at.run("convox rack resources create redis --name cache Database=1");
    at.run("convox rack resources create redis --name cache");
    at.run("convox rack resources create nope");
    at.run("convox rack resources create redis what");
    at.run("convox rack resources");
    at.run("convox rack resources link cache");
    at.run("convox rack resources info cache");
    at.run("convox rack resources info nope");
    at.run("convox rack resources url cache");
    at.run("convox rack resources url cache --json");
    at.run("convox rack resources url nope");
    at.run("convox rack resources delete cache");
    at.run("convox rack resources unlink cache");
    at.run("convox rack resources unlink cache");
    at.run("convox rack resources link nope");
    at.run("convox rack resources update cache Database=2");
    at.run("convox rack resources update cache nope=1");
    at.run("convox rack resources proxy nope");
    at.run("convox rack resources delete cache");
    at.run("convox rack resources delete cache");
    at.run("convox resources create redis --name=old --Database=3");
    at.run("convox resources link old");
    at.run("convox resources unlink old");
    at.run("convox resources update old Database=4");
    at.run("convox resources delete old");
    at.is("resources-of-the-rack");
}

#[test]
fn machine() {
    let mut at = Transcript::deployed();
    at.run("convox instances");
    at.run("convox instances ssh simulated echo hi");
    at.run("convox instances ssh simulated 'exit 3'");
    at.run("convox instances ssh nope echo hi");
    at.run("convox instances keyroll");
    at.run("convox instances terminate simulated");
    at.run("convox proxy nonsense");
    at.run("convox registries");
    at.run("convox registries add registry.example.com me secret");
    at.run("convox registries add registry.invalid me secret");
    at.run("convox registries add registry.example.com");
    at.run("echo secret | convox registries add registry.example.com me");
    at.run("convox registries");
    at.run("convox registries remove registry.example.com");
    at.run("convox registries remove registry.example.com");
    at.is("machine");
}

#[test]
fn certificates() {
    let mut at = Transcript::deployed();
    at.run("convox certs");
    at.run("convox certs generate one.example two.example");
    at.run("convox certs");
    at.run("convox certs --generated");
    let id = at.run("convox certs generate three.example --id");
    at.run("convox certs import convox.yml convox.yml");
    at.run("convox certs import nope nope");
    at.run(&format!("convox certs delete {id}"));
    at.run(&format!("convox certs delete {id}"));
    at.run("convox certs renew");
    at.run("convox certs renew -a nope");
    at.run("convox ssl");
    at.run("convox ssl -a nope");
    at.run("convox ssl update web:443 nope");
    at.is("certificates");
}

#[test]
fn what_needs_a_cloud() {
    let mut at = Transcript::begin();
    at.run("convox budget show myapp");
    at.run("convox cloud machines");
    at.run("convox cost --aggregate");
    at.run("convox letsencrypt dns route53 list");
    at.run("convox runtimes personal");
    at.run("convox workflows run nope --app myapp");
    at.run("convox init");
    at.run("convox router");
    at.run("convox rack karpenter cleanup");
    at.run("convox rack kubeconfig");
    at.run("convox rack mv one two");
    at.run("convox rack runtime attach one");
    at.run("convox rack runtimes");
    at.run("convox rack start");
    at.run("convox resources db delete database");
    at.run("convox resources fix cf database");
    at.run("convox services triggers enable web");
    at.is("what-needs-a-cloud");
}
