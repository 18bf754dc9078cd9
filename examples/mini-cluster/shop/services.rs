//! What each service does.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use futures_util::future::BoxFuture;
use hyper::{Method, StatusCode};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::Me;
use super::peers::Peers;
use super::server::{Answer, Call, Handler};

/// The services of the shop.
pub(crate) const NAMES: [&str; 6] =
    ["frontend", "catalogue", "cart", "checkout", "payment", "recommendation"];

/// How many rounds of hashing are done between two looks at the clock: some tens of microseconds.
const WORK_ROUNDS: u64 = 20_000;

/// The most milliseconds of work that one request may ask for.
const MAX_WORK: u64 = 1_000;

/// What the customer has put into the cart. It is in the customer's hands, so that no service has to remember it.
const CART: &str = "/carts/tea,cup";

pub(crate) fn handler(me: Arc<Me>) -> anyhow::Result<Handler> {
    let peers = Peers::new();
    Ok(match me.name.as_str() {
        "frontend" => with(peers, move |peers, call| Box::pin(frontend(peers, Arc::clone(&me), call))),
        "catalogue" => {
            let products = Arc::new(products()?);
            Arc::new(move |call| Box::pin(catalogue(Arc::clone(&products), call)))
        }
        "cart" => with(peers, |peers, call| Box::pin(cart(peers, call))),
        "checkout" => with(peers, |peers, call| Box::pin(checkout(peers, call))),
        "payment" => {
            let key = std::env::var("PAYMENT_KEY").context("PAYMENT_KEY comes from the Secret `payment`")?;
            Arc::new(move |call| Box::pin(payment(key.clone(), call)))
        }
        "recommendation" => with(peers, |peers, call| Box::pin(recommendation(peers, call))),
        other => bail!("there is no service `{other}`; there are {}", NAMES.join(", ")),
    })
}

fn with(
    peers: Peers,
    service: impl Fn(Peers, Call) -> BoxFuture<'static, anyhow::Result<Answer>> + Send + Sync + 'static,
) -> Handler {
    Arc::new(move |call| service(peers.clone(), call))
}

fn not_found(call: &Call) -> Answer {
    Answer::Status(StatusCode::NOT_FOUND, format!("nothing at {} {}\n", call.method, call.path))
}

/// The products are a file of the ConfigMap `catalogue`, mounted as a volume.
fn products() -> anyhow::Result<Value> {
    let root = std::env::var("CONTAINER_ROOT").unwrap_or_default();
    let path = PathBuf::from(format!("{root}/etc/shop/products.json"));
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

async fn frontend(peers: Peers, me: Arc<Me>, call: Call) -> anyhow::Result<Answer> {
    match (&call.method, call.path.as_str()) {
        (&Method::GET, "/") => {
            let (products, hint, cart) = tokio::try_join!(
                peers.get("catalogue", "/products"),
                peers.get("recommendation", "/for/you"),
                peers.get("cart", CART),
            )?;
            let items = products.as_array().into_iter().flatten();
            let rows: String =
                items.map(|p| format!("<li>{} <b>{}</b></li>", text(&p["name"]), p["price"])).collect();
            Ok(Answer::Page(format!(
                "<!doctype html><title>Shop</title><h1>Shop {}</h1><ul>{rows}</ul><p>For you: {}</p><p>In your cart: {} for {}</p>\n",
                me.version,
                text(&hint["name"]),
                cart["items"].as_array().map_or(0, Vec::len),
                cart["total"],
            )))
        }
        (&Method::PUT, path) if path.starts_with("/orders/") => {
            let order = path.trim_start_matches("/orders/");
            Ok(Answer::Json(peers.put("checkout", &format!("/orders/{order}"), &call.body).await?))
        }
        _ => Ok(not_found(&call)),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

async fn catalogue(products: Arc<Value>, call: Call) -> anyhow::Result<Answer> {
    Ok(match (&call.method, call.path.as_str()) {
        (&Method::GET, "/products") => Answer::Json((*products).clone()),
        _ => not_found(&call),
    })
}

/// `/carts/tea,cup` says what these cost. Nothing is kept here: any replica answers for any customer.
async fn cart(peers: Peers, call: Call) -> anyhow::Result<Answer> {
    let Some(items) = call.path.strip_prefix("/carts/") else { return Ok(not_found(&call)) };
    let products = peers.get("catalogue", "/products").await?;
    let all = products.as_array().map_or(&[][..], Vec::as_slice);
    let items = items
        .split(',')
        .map(|id| all.iter().find(|p| p["id"] == id).with_context(|| format!("no {id} is sold")));
    let items = items.collect::<anyhow::Result<Vec<_>>>()?;
    let total: u64 = items.iter().filter_map(|item| item["price"].as_u64()).sum();
    Ok(Answer::Json(json!({ "items": items, "total": total })))
}

/// An order has a number that the customer's side chose: placing it twice is placing it once.
async fn checkout(peers: Peers, call: Call) -> anyhow::Result<Answer> {
    let Some(order) = call.path.strip_prefix("/orders/").filter(|_| call.method == Method::PUT) else {
        return Ok(not_found(&call));
    };
    let cart = peers.get("cart", CART).await?;
    let paid =
        peers.put("payment", &format!("/payments/{order}"), &json!({ "amount": cart["total"] })).await?;
    Ok(Answer::Json(json!({ "order": order, "items": cart["items"], "paid": paid["paid"] })))
}

async fn payment(key: String, call: Call) -> anyhow::Result<Answer> {
    if call.method != Method::PUT || !call.path.starts_with("/payments/") {
        return Ok(not_found(&call));
    }
    anyhow::ensure!(!key.is_empty(), "the payment key is empty");
    Ok(Answer::Json(json!({ "paid": call.body["amount"] })))
}

/// `/for/you` is a quick look-up; `/work/N` takes N milliseconds of a processor's time, to give the autoscaler
/// something to see.
async fn recommendation(peers: Peers, call: Call) -> anyhow::Result<Answer> {
    if let Some(millis) = call.path.strip_prefix("/work/") {
        let millis: u64 = millis.parse().context("milliseconds of work")?;
        return Ok(Answer::Json(json!({ "result": work(millis.min(MAX_WORK)) })));
    }
    let products = peers.get("catalogue", "/products").await?;
    let all = products.as_array().map_or(&[][..], Vec::as_slice);
    Ok(Answer::Json(all.last().cloned().unwrap_or(Value::Null)))
}

/// Works until this thread has had so much of a processor, however long that takes on a busy machine.
fn work(millis: u64) -> u64 {
    let had = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec.unsigned_abs() * 1_000 + time.tv_nsec.unsigned_abs() / 1_000_000
    };
    let (until, mut hash) = (had() + millis, 0xcbf2_9ce4_8422_2325_u64);
    while had() < until {
        for i in 0..WORK_ROUNDS {
            hash = std::hint::black_box((hash ^ i).wrapping_mul(0x0100_0000_01b3));
        }
    }
    hash
}
