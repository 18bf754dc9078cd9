//! What each service does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use futures_util::future::BoxFuture;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::Me;
use super::peers::Peers;
use super::server::{Answer, Call, Handler};

/// The services of the shop.
pub(crate) const NAMES: [&str; 6] =
    ["frontend", "catalogue", "cart", "checkout", "payment", "recommendation"];

/// How many rounds of hashing one unit of work is: some tens of microseconds.
const WORK_ROUNDS: u64 = 20_000;

pub(crate) fn handler(me: Arc<Me>) -> anyhow::Result<Handler> {
    let peers = Peers::new();
    Ok(match me.name.as_str() {
        "frontend" => with(peers, move |peers, call| Box::pin(frontend(peers, Arc::clone(&me), call))),
        "catalogue" => {
            let products = Arc::new(products()?);
            Arc::new(move |call| Box::pin(catalogue(Arc::clone(&products), call)))
        }
        "cart" => {
            let carts = Arc::<Mutex<BTreeMap<String, Value>>>::default();
            Arc::new(move |call| Box::pin(cart(Arc::clone(&carts), call)))
        }
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
                peers.get("cart", "/carts/you"),
            )?;
            let items = products.as_array().into_iter().flatten();
            let rows: String =
                items.map(|p| format!("<li>{} <b>{}</b></li>", text(&p["name"]), p["price"])).collect();
            Ok(Answer::Page(format!(
                "<!doctype html><title>Shop</title><h1>Shop {}</h1><ul>{rows}</ul><p>For you: {}</p><p>In your cart: {}</p>\n",
                me.version,
                text(&hint["name"]),
                cart["items"].as_array().map_or(0, Vec::len),
            )))
        }
        (&Method::PUT, path) if path.starts_with("/orders/") => {
            let order = path.trim_start_matches("/orders/");
            Ok(Answer::Json(peers.put("checkout", &format!("/orders/{order}"), call.body).await?))
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

async fn cart(carts: Arc<Mutex<BTreeMap<String, Value>>>, call: Call) -> anyhow::Result<Answer> {
    let Some(owner) = call.path.strip_prefix("/carts/") else { return Ok(not_found(&call)) };
    let mut carts = carts.lock().map_err(|_poisoned| anyhow::anyhow!("the carts are broken"))?;
    if call.method == Method::PUT {
        carts.insert(owner.to_owned(), call.body.clone());
    }
    Ok(Answer::Json(carts.get(owner).cloned().unwrap_or_else(|| json!({ "items": [] }))))
}

/// An order has a number that the customer's side chose: placing it twice is placing it once.
async fn checkout(peers: Peers, call: Call) -> anyhow::Result<Answer> {
    let Some(order) = call.path.strip_prefix("/orders/").filter(|_| call.method == Method::PUT) else {
        return Ok(not_found(&call));
    };
    let cart = peers.get("cart", "/carts/you").await?;
    let paid = peers.put("payment", &format!("/payments/{order}"), json!({ "amount": 42 })).await?;
    Ok(Answer::Json(json!({ "order": order, "items": cart["items"], "paid": paid["paid"] })))
}

async fn payment(key: String, call: Call) -> anyhow::Result<Answer> {
    if call.method != Method::PUT || !call.path.starts_with("/payments/") {
        return Ok(not_found(&call));
    }
    anyhow::ensure!(!key.is_empty(), "the payment key is empty");
    Ok(Answer::Json(json!({ "paid": call.body["amount"] })))
}

/// `/for/you` is a quick look-up; `/work/N` takes N units of work, to give the autoscaler something to see.
async fn recommendation(peers: Peers, call: Call) -> anyhow::Result<Answer> {
    if let Some(units) = call.path.strip_prefix("/work/") {
        let units: u64 = units.parse().context("units of work")?;
        return Ok(Answer::Json(json!({ "result": work(units.min(1_000)) })));
    }
    let products = peers.get("catalogue", "/products").await?;
    let all = products.as_array().map_or(&[][..], Vec::as_slice);
    Ok(Answer::Json(all.last().cloned().unwrap_or(Value::Null)))
}

fn work(units: u64) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for i in 0..units * WORK_ROUNDS {
        hash = std::hint::black_box((hash ^ i).wrapping_mul(0x0100_0000_01b3));
    }
    hash
}
