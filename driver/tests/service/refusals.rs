//! What the driver refuses, and how.

use lethe_flight::message::experiment::{Cancel, ExperimentRef, TrialState};
use lethe_flight::message::slot::{FromSlot, RegisterExecutor, ToExecutor, ToSlot};
use lethe_flight::message::training::{Function, Loss, Outcome};
use lethe_flight::wire::{Ticket, action};
use lethe_flight::{Error, PROTOCOL, Token, VERSION, client, limits};
use tonic::Code;

use crate::common::{Driver, Null, SECRET, Slot, code, join, supervised, within};

#[tokio::test]
async fn a_call_without_the_token_is_refused() {
    let driver = Driver::start().await;
    let other = Token::new(&SECRET.replace('0', "1")).unwrap();
    let mut client = client::connect(&driver.address, &other).await.unwrap();
    let called = client::call::<_, Null>(&mut client, action::HELLO, &()).await.unwrap_err();
    assert_eq!(code(&called), Code::Unauthenticated);
    let exchanged = client::exchange::<FromSlot, ToSlot>(&mut client, &join(0)).await.err().unwrap();
    assert_eq!(code(&exchanged), Code::Unauthenticated);
    let got = client::get(&mut client, &Ticket::Program { hash: "0".repeat(64) }).await.err().unwrap();
    assert_eq!(code(&got), Code::Unauthenticated);
}

#[tokio::test]
async fn a_peer_of_another_protocol_is_refused_by_both_versions() {
    let driver = Driver::start().await;
    let mut client = driver.client().await;
    let both = |error: &Error| {
        let text = error.to_string();
        assert_eq!(code(error), Code::FailedPrecondition, "{text}");
        assert!(text.contains("9.9.9") && text.contains(VERSION), "{text}");
        let other = format!("protocol {}", PROTOCOL + 1);
        assert!(text.contains(&other) && text.contains(&format!("protocol {PROTOCOL}")), "{text}");
    };
    let (protocol, version) = (PROTOCOL + 1, "9.9.9".to_owned());
    let register =
        RegisterExecutor { protocol, version: version.clone(), executor: "x".into(), address: "h:1".into() };
    both(&client::call::<_, ToExecutor>(&mut client, action::REGISTER, &register).await.unwrap_err());
    let mut plan = driver.plan(1, 1);
    (plan.protocol, plan.version) = (protocol, version.clone());
    both(&driver.create(&plan).await.unwrap_err());
    driver.create(&driver.plan(1, 1)).await.unwrap();
    let join = FromSlot::Join { protocol, version, experiment: "e".into(), slot: 0, executor: "x".into() };
    both(&client::exchange::<FromSlot, ToSlot>(&mut client, &join).await.err().unwrap());
}

#[tokio::test]
async fn a_control_message_over_the_limit_is_refused() {
    let driver = Driver::start().await;
    driver.create(&driver.plan(1, 1)).await.unwrap();
    let text = "x".repeat(limits::CONTROL_BYTES);
    let cancel = Cancel { experiment: "e".into(), reason: text.clone() };
    let mut client = driver.client().await;
    let refused = client::call::<_, Null>(&mut client, action::CANCEL, &cancel).await.unwrap_err();
    assert_eq!(code(&refused), Code::ResourceExhausted);
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    slot.end(&spec, Outcome::Failed { error: text }).await;
    let ended = within(slot.receiver.next()).await.unwrap().unwrap_err();
    assert_eq!(code(&ended), Code::ResourceExhausted);
    assert_eq!(driver.result().await.trials[0].state, TrialState::Waiting, "to be run again");
}

#[tokio::test]
async fn plans_that_cannot_be_carried_out_are_refused() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(1, 1);
    plan.directory = "relative".into();
    assert!(driver.create(&plan).await.unwrap_err().to_string().contains("must be absolute"));
    plan = driver.plan(0, 1);
    assert!(driver.create(&plan).await.unwrap_err().to_string().contains("trials is 0"));
    plan = driver.plan(1, 1);
    plan.experiment = "../up".into();
    assert_eq!(code(&driver.create(&plan).await.unwrap_err()), Code::InvalidArgument);
    plan = driver.plan(1, 1);
    let Function::Supervised(mut function) = supervised() else { unreachable!() };
    function.loss = Some(Loss::CrossEntropy);
    plan.function = Function::Supervised(function);
    plan.objective.metric = "accuracy".into();
    let error = driver.create(&plan).await.unwrap_err().to_string();
    assert!(error.contains("\"accuracy\"") && error.contains("train_loss"), "{error}");
    let plan = driver.plan(1, 1);
    driver.create(&plan).await.unwrap();
    assert!(driver.create(&plan).await.unwrap_err().to_string().contains("already"));
    let unknown = ExperimentRef { experiment: "other".into() };
    let error =
        client::call::<_, Null>(&mut driver.client().await, action::RESULT, &unknown).await.unwrap_err();
    assert_eq!(code(&error), Code::FailedPrecondition);
}
