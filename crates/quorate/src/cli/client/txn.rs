//! `quorate txn`: conditions and operations as words.

use anyhow::{Context, bail};
use bytes::Bytes;

use super::{Target, lines, prefix_end, print};
use crate::etcd::generated::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::kv_client::KvClient;

/// Reads and writes several keys at one revision, if all conditions hold.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  quorate txn --if 'version(lock) = 0' --then 'put lock me' --else 'get lock'
  quorate txn --if 'mod(a) = 7' --if 'value(b) != done' --then 'del a' --then 'put b done'

Conditions: version|create|mod|lease|value(KEY) = != < > OPERAND
Operations: put KEY VALUE, get KEY, get KEY --prefix, del KEY, del KEY --prefix; quote words as a shell does.")]
pub struct TxnArgs {
    /// A condition; all must hold. May be given many times.
    #[arg(long = "if", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// What to do when all hold. May be given many times.
    #[arg(long = "then", value_name = "OPERATION")]
    success: Vec<String>,
    /// What to do when one does not. May be given many times.
    #[arg(long = "else", value_name = "OPERATION")]
    failure: Vec<String>,
}

/// Runs `quorate txn`.
///
/// # Errors
/// When a condition or an operation cannot be read, no node answers, or the transaction is refused.
pub async fn txn(target: &Target, args: TxnArgs) -> anyhow::Result<()> {
    if args.success.is_empty() && args.failure.is_empty() && args.conditions.is_empty() {
        bail!("there is nothing to do: see `quorate txn --help` for examples");
    }
    let request = pb::TxnRequest {
        compare: args.conditions.iter().map(|text| condition(text)).collect::<anyhow::Result<_>>()?,
        success: args.success.iter().map(|text| operation(text)).collect::<anyhow::Result<_>>()?,
        failure: args.failure.iter().map(|text| operation(text)).collect::<anyhow::Result<_>>()?,
    };
    let answer = KvClient::new(target.connect().await?).txn(target.request(request)).await?.into_inner();
    print(target, &answer, |answer| {
        let verdict = if answer.succeeded { "SUCCESS" } else { "FAILURE" };
        let mut out = vec![Bytes::from_static(verdict.as_bytes())];
        out.extend(answer.responses.iter().flat_map(answer_lines));
        out
    })
}

fn answer_lines(answer: &pb::ResponseOp) -> Vec<Bytes> {
    use pb::response_op::Response;
    match &answer.response {
        Some(Response::ResponseRange(range)) => {
            range.kvs.iter().flat_map(|kv| lines(&kv.key, Some(&kv.value))).collect()
        }
        Some(Response::ResponsePut(_)) => vec![Bytes::from_static(b"OK")],
        Some(Response::ResponseDeleteRange(delete)) => vec![delete.deleted.to_string().into()],
        Some(Response::ResponseTxn(_)) | None => Vec::new(),
    }
}

fn condition(text: &str) -> anyhow::Result<pb::Compare> {
    let why = || format!("`{text}` is not a condition like `version(key) = 0`");
    let (kind, rest) = text.trim().split_once('(').with_context(why)?;
    let (key, rest) = rest.rsplit_once(')').with_context(why)?;
    let rest = rest.trim();
    let (result, operand) = [
        ("!=", CompareResult::NotEqual),
        ("=", CompareResult::Equal),
        (">", CompareResult::Greater),
        ("<", CompareResult::Less),
    ]
    .into_iter()
    .find_map(|(sign, result)| Some((result, rest.strip_prefix(sign)?.trim())))
    .with_context(why)?;
    let number = || operand.parse::<i64>().with_context(|| format!("`{operand}` in `{text}` is not a number"));
    let (target, operand) = match kind.trim() {
        "version" | "ver" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(super::parse_lease(operand).map_err(anyhow::Error::msg)?)),
        "value" | "val" => (CompareTarget::Value, TargetUnion::Value(Bytes::from(operand.to_owned()))),
        other => bail!("`{other}` in `{text}` cannot be compared: use version, create, mod, lease or value"),
    };
    Ok(pb::Compare {
        result: result.into(),
        target: target.into(),
        key: Bytes::from(key.to_owned()),
        target_union: Some(operand),
        ..Default::default()
    })
}

fn operation(text: &str) -> anyhow::Result<pb::RequestOp> {
    use pb::request_op::Request;
    let words = shell_words::split(text).with_context(|| format!("the quotes in `{text}` do not match"))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let bytes = |text: &str| Bytes::from(text.to_owned());
    let request = match words[..] {
        ["put", key, value] => {
            Request::RequestPut(pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() })
        }
        ["get", key] => Request::RequestRange(pb::RangeRequest { key: bytes(key), ..Default::default() }),
        ["get", key, "--prefix"] => {
            let range_end = prefix_end(key.as_bytes());
            Request::RequestRange(pb::RangeRequest { key: bytes(key), range_end, ..Default::default() })
        }
        ["del", key] => Request::RequestDeleteRange(pb::DeleteRangeRequest { key: bytes(key), ..Default::default() }),
        ["del", key, "--prefix"] => {
            let range_end = prefix_end(key.as_bytes());
            Request::RequestDeleteRange(pb::DeleteRangeRequest { key: bytes(key), range_end, ..Default::default() })
        }
        _ => bail!("`{text}` is not an operation: use put KEY VALUE, get KEY [--prefix] or del KEY [--prefix]"),
    };
    Ok(pb::RequestOp { request: Some(request) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_condition_or_an_operation_is_refused_with_its_text() {
        assert!(condition("mod(a) = 7").is_ok());
        assert!(condition("value(b) != not done").is_ok());
        for wrong in ["mod a = 7", "mod(a) ~ 7", "mod(a) = x", "size(a) = 1"] {
            assert!(condition(wrong).expect_err("it is wrong").to_string().contains(wrong), "{wrong}");
        }
        assert!(operation("put 'a b' \"c d\"").is_ok());
        for wrong in ["put a", "set a b", "", "put 'a b"] {
            assert!(operation(wrong).expect_err("it is wrong").to_string().contains(wrong), "{wrong}");
        }
    }
}
