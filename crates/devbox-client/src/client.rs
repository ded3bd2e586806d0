//! Boxes, keys and templates of one server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use devbox_guest::Guest;
use devbox_types::BoxId;
use devbox_types::devbox::{
    ApiKey, ApiKeyList, CreateKeyRequest, CreateRequest, Devbox, DevboxPage, Template, TemplateList,
};
use futures_util::stream::{self, Stream, TryStreamExt as _};
use http::Method;

use crate::call::{Call, Caller, Repeat, encode};
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::retry::RetryPolicy;
use crate::sandbox::Sandbox;

/// Which boxes are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListQuery {
    /// The most boxes in one page; `None`: as the server likes.
    pub limit: Option<u32>,
    /// Where the page begins: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Only the box of this name.
    pub name: Option<String>,
    /// Only boxes that have all these labels.
    pub labels: BTreeMap<String, String>,
}

/// One server, spoken to with one key. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Client {
    caller: Arc<Caller>,
}

impl Client {
    /// Makes a client. Nothing is sent, and nothing but `ca_file` is read.
    ///
    /// # Errors
    /// `BadUrl`, `BadApiKey`, and for `https` whatever keeps the certificates from being read.
    pub fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        Ok(Self { caller: Arc::new(Caller::new(config)?) })
    }

    /// The address of the server, as it was understood.
    #[must_use]
    pub fn url(&self) -> String {
        self.caller.url()
    }

    /// How often, and how patiently, calls are repeated.
    pub(crate) fn retry(&self) -> RetryPolicy {
        self.caller.retry()
    }

    /// Makes a box and waits until it runs.
    ///
    /// Sent with an `Idempotency-Key`, so that an answer that was lost on the way does not leave a second box behind.
    pub async fn create(&self, request: &CreateRequest) -> Result<Devbox, ClientError> {
        self.caller.json(Call::new(Method::POST, "/v1/devboxes", Repeat::Always).with_json(request)?).await
    }

    /// Makes a box, waits until it runs, and gives a handle on it.
    pub async fn create_sandbox(&self, request: &CreateRequest) -> Result<Sandbox, ClientError> {
        Sandbox::new(self.clone(), self.create(request).await?)
    }

    /// Looks at a box, by id or by name.
    ///
    /// # Errors
    /// `NoSuchName` if `reference` can be neither; `devbox_not_found`, among those of every call.
    pub async fn get(&self, reference: &str) -> Result<Devbox, ClientError> {
        if !is_reference(reference) {
            return Err(ClientError::NoSuchName { name: reference.to_owned() });
        }
        self.caller.json(Call::new(Method::GET, format!("/v1/devboxes/{reference}"), Repeat::Always)).await
    }

    /// A handle on a box, by id or by name.
    pub async fn sandbox(&self, reference: &str) -> Result<Sandbox, ClientError> {
        Sandbox::new(self.clone(), self.get(reference).await?)
    }

    /// One page of the boxes of the project, oldest first.
    pub async fn list(&self, query: &ListQuery) -> Result<DevboxPage, ClientError> {
        self.caller.json(Call::new(Method::GET, list_path(query), Repeat::Always)).await
    }

    /// All boxes that `query` wants, page by page as they are asked for. An error is the last item.
    pub fn boxes(
        &self,
        query: ListQuery,
    ) -> impl Stream<Item = Result<Devbox, ClientError>> + Send + 'static {
        let pages = Pages { client: self.clone(), next: Some(query), ready: VecDeque::new() };
        stream::try_unfold(pages, |mut pages| async move {
            let devbox = pages.next().await?;
            Ok(devbox.map(|devbox| (devbox, pages)))
        })
    }

    /// All boxes that `query` wants.
    pub async fn list_all(&self, query: ListQuery) -> Result<Vec<Devbox>, ClientError> {
        self.boxes(query).try_collect().await
    }

    /// Starts a stopped or failed box. One that runs is left alone.
    pub async fn start(&self, id: &BoxId) -> Result<Devbox, ClientError> {
        self.caller.json(Call::new(Method::POST, format!("/v1/devboxes/{id}/start"), Repeat::Always)).await
    }

    /// Ends every process of a box and keeps its files. One that is stopped is left alone.
    pub async fn stop(&self, id: &BoxId) -> Result<Devbox, ClientError> {
        self.caller.json(Call::new(Method::POST, format!("/v1/devboxes/{id}/stop"), Repeat::Always)).await
    }

    /// Deletes a box and all it holds.
    pub async fn delete(&self, id: &BoxId) -> Result<(), ClientError> {
        self.caller.done(Call::new(Method::DELETE, format!("/v1/devboxes/{id}"), Repeat::Always)).await
    }

    /// What boxes can be made from, the default first.
    pub async fn templates(&self) -> Result<Vec<Template>, ClientError> {
        let list: TemplateList =
            self.caller.json(Call::new(Method::GET, "/v1/templates", Repeat::Always)).await?;
        Ok(list.templates)
    }

    /// Makes an API key. Its secret is in this answer and nowhere else.
    pub async fn create_key(&self, request: &CreateKeyRequest) -> Result<ApiKey, ClientError> {
        self.caller.json(Call::new(Method::POST, "/v1/keys", Repeat::IfUnsent).with_json(request)?).await
    }

    /// The API keys that this one may see, oldest first, without their secrets.
    pub async fn list_keys(&self) -> Result<Vec<ApiKey>, ClientError> {
        let list: ApiKeyList = self.caller.json(Call::new(Method::GET, "/v1/keys", Repeat::Always)).await?;
        Ok(list.keys)
    }

    /// Deletes an API key. Calls that are under way end as they would have.
    pub async fn delete_key(&self, id: &str) -> Result<(), ClientError> {
        self.caller.done(Call::new(Method::DELETE, format!("/v1/keys/{}", encode(id)), Repeat::Always)).await
    }

    /// Asks whether the server is there and well. Needs no key.
    pub async fn health(&self) -> Result<(), ClientError> {
        self.caller.done(Call::new(Method::GET, "/healthz", Repeat::Always).without_key()).await
    }

    /// The inside of a box, as the plain contract over HTTP. Nothing is sent yet.
    ///
    /// # Errors
    /// `NoApiKey`.
    pub fn guest(&self, id: &BoxId) -> Result<Arc<dyn Guest>, ClientError> {
        self.caller.guest(id)
    }
}

/// What is left of a listing.
struct Pages {
    client: Client,
    /// The query of the next page, if there is one.
    next: Option<ListQuery>,
    ready: VecDeque<Devbox>,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Devbox>, ClientError> {
        loop {
            if let Some(devbox) = self.ready.pop_front() {
                return Ok(Some(devbox));
            }
            let Some(query) = self.next.take() else { return Ok(None) };
            let page = self.client.list(&query).await?;
            self.ready = page.devboxes.into();
            self.next = page.next_cursor.map(|cursor| ListQuery { cursor: Some(cursor), ..query });
        }
    }
}

/// Whether a text can be the id or the name of a box, and so stand in a path as it is.
fn is_reference(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(plain)
}

fn list_path(query: &ListQuery) -> String {
    let limit = query.limit.map(|limit| ("limit", limit.to_string()));
    let cursor = query.cursor.clone().map(|cursor| ("cursor", cursor));
    let name = query.name.clone().map(|name| ("name", name));
    let labels = query.labels.iter().map(|(key, value)| ("label", format!("{key}={value}")));
    let pairs: Vec<String> = limit
        .into_iter()
        .chain(cursor)
        .chain(name)
        .chain(labels)
        .map(|(key, value)| format!("{key}={}", encode(&value)))
        .collect();
    if pairs.is_empty() { "/v1/devboxes".to_owned() } else { format!("/v1/devboxes?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_box_is_never_asked_for() {
        for text in ["", "..", "a/b", "a?b", "A", "a b", &"a".repeat(64)] {
            assert!(!is_reference(text), "{text:?}");
        }
        assert!(is_reference("my-box-1") && is_reference("2aaaaaaaaaaaaaaa"));
    }

    #[test]
    fn a_query_is_escaped() {
        let query = ListQuery {
            limit: Some(5),
            cursor: Some("a&b".to_owned()),
            name: None,
            labels: BTreeMap::from([("team".to_owned(), "a b".to_owned())]),
        };
        assert_eq!(list_path(&query), "/v1/devboxes?limit=5&cursor=a%26b&label=team%3Da%20b");
        assert_eq!(list_path(&ListQuery::default()), "/v1/devboxes");
    }
}
