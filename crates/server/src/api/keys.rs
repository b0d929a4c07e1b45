//! `GET /api/v1/keys`: keys by filter and order, in pages.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use dormouse_ledger::query::{KeyQuery, PARAMETERS, Selection};
use dormouse_pipeline::view::KeysPage;

use super::{each_parameter, encode, json, number};
use crate::listings::Cursor;
use crate::problem::{Code, Problem};
use crate::routes::App;

/// Keys on a page if nobody says how many.
const USUAL_LIMIT: usize = 100;
const LARGEST_LIMIT: i64 = 1_000;

/// A question, or the way on in an answer.
struct Asked {
    query: KeyQuery,
    /// Something was said about which keys, or in what order.
    has_question: bool,
    limit: usize,
    cursor: Option<Cursor>,
}

/// A page of the answer to a question.
pub(crate) async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let asked = Asked::parse(uri.query())?;
    let page = {
        let app = Arc::clone(&app);
        app.clone().blocking.run(move || encode(&page(&app, &asked)?)).await?
    };
    Ok(json(page))
}

impl Asked {
    fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut asked =
            Self { query: KeyQuery::default(), has_question: false, limit: USUAL_LIMIT, cursor: None };
        let allowed = [&PARAMETERS[..], &["limit", "cursor"]].concat();
        each_parameter(query, &allowed, |name, value| {
            match name {
                "limit" => {
                    asked.limit =
                        usize::try_from(number(name, value, 1, LARGEST_LIMIT)?).unwrap_or(USUAL_LIMIT);
                }
                "cursor" => asked.cursor = Some(Cursor::parse(value)?),
                _ => {
                    asked.has_question = true;
                    return set(&mut asked.query, name, value);
                }
            }
            Ok(true)
        })?;
        Ok(asked)
    }
}

/// Sets a parameter of the question.
pub(crate) fn set(query: &mut KeyQuery, name: &str, value: &str) -> Result<bool, Problem> {
    query.set(name, value).map_err(|error| Problem::new(Code::BadParameter, error.to_string()))
}

fn page(app: &App, asked: &Asked) -> Result<KeysPage, Problem> {
    let view = &app.instance.view;
    let (selection, place) = match asked.cursor {
        None => (view.select(&asked.query), 0),
        Some(cursor) if asked.has_question && !cursor.is_of(&asked.query) => {
            return Err(Problem::new(
                Code::BadCursor,
                "the cursor belongs to another question; repeat that one, or none",
            ));
        }
        Some(cursor) => app.listings.find(cursor)?,
    };
    let rows = selection.rows(place, asked.limit);
    let next_place = place + rows.len();
    let keys = view.documents(&rows)?;
    let total = selection.len();
    let next = if next_place < total { Some(next_cursor(app, asked, selection, next_place)?) } else { None };
    Ok(KeysPage { keys, total, next: next.map(Cursor::text) })
}

fn next_cursor(app: &App, asked: &Asked, selection: Selection, place: usize) -> Result<Cursor, Problem> {
    match asked.cursor {
        Some(cursor) => Ok(cursor.at(place)),
        None => app.listings.keep(&asked.query, selection, place),
    }
}
