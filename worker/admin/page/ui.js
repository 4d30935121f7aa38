// ui.js - elements, times, the API, dialogs. Everything that comes from outside becomes text, never markup.

export const session = { name: '', role: '', csrf: '', queue: '' };
export const isOperator = () => session.role === 'operator';

// el('td', { class: 'num', onclick: f }, 'text', node, ...)
export function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== 'string') node[name] = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// What no eye should trust: control characters, what turns the direction of writing, what has no width.
const ODD = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd]/g;

// The text as nodes, each odd character shown as its number.
export function shown(text) {
  const parts = [];
  let at = 0;
  for (const match of String(text ?? '').matchAll(ODD)) {
    parts.push(text.slice(at, match.index));
    parts.push(el('span', { class: 'odd' }, 'U+' + match[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')));
    at = match.index + 1;
  }
  parts.push(String(text ?? '').slice(at));
  return parts;
}

const local = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
export function when(ms) {
  if (!ms) return el('span', { class: 'dim' }, '–');
  const date = new Date(ms);
  return el('time', { datetime: date.toISOString(), title: date.toISOString() + ' (' + span(Date.now() - ms) + ' ago)' }, local.format(date));
}

export function span(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return s.toFixed(1) + ' s';
  if (s < 120) return Math.round(s) + ' s';
  if (s < 7200) return Math.round(s / 60) + ' min';
  if (s < 172800) return (s / 3600).toFixed(1) + ' h';
  return (s / 86400).toFixed(1) + ' d';
}

export const count = (n) => Number(n || 0).toLocaleString();

export function tag(text, kind) {
  return el('span', { class: 'tag ' + (kind || '') }, shown(text));
}

export const REASONS = ['malformed', 'invalid_args', 'unknown_kind', 'id_reused', 'expired', 'too_many_attempts', 'circuit_open', 'poison', 'database_refused'];
export const KINDS = ['booking.create', 'booking.confirm', 'booking.reschedule', 'booking.cancel', 'booking.complete'];

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function send(path, body) {
  const options = { credentials: 'same-origin', headers: {}, signal: AbortSignal.timeout(15000) };
  if (body !== undefined) {
    options.method = 'POST';
    options.headers = { 'Content-Type': 'application/json', 'X-CSRF-Token': session.csrf };
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch('/api/v1/' + path, options);
  } catch {
    throw new Refused(0, 'booking-admin does not answer');
  }
  if (response.ok) return response;
  let text = response.statusText;
  try {
    text = (await response.json()).error || text;
  } catch { /* no body to tell more */ }
  if (response.status === 401 && path !== 'login' && path !== 'session') document.dispatchEvent(new Event('loggedout'));
  throw new Refused(response.status, text);
}

export const ask = async (path, body) => (await send(path, body)).json();

export function query(values) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value) search.set(name, value);
  return search.size ? '?' + search : '';
}

export function toast(text, bad) {
  const node = el('div', { class: 'toast' + (bad ? ' bad' : '') }, shown(text));
  document.getElementById('toasts').append(node);
  setTimeout(() => node.remove(), bad ? 9000 : 5000);
}

// A modal form. `submit(form data, progress)` may throw; the dialog stays open and says why.
export function dialog({ title, body, confirm, danger, wide, submit }) {
  return new Promise((resolve) => {
    const problem = el('p', { class: 'problem', role: 'alert' });
    const bar = el('progress', { hidden: true, max: 1, value: 0, 'aria-label': 'Progress' });
    const go = el('button', { class: danger ? 'danger' : 'main', type: 'submit' }, confirm);
    const form = el('form', { method: 'dialog' }, el('h2', { id: 'dialog-title' }, title), body, problem, bar,
      el('div', { class: 'actions' }, el('button', { type: 'button', onclick: () => box.close() }, 'Cancel'), go));
    const box = el('dialog', { class: wide ? 'wide' : '', 'aria-labelledby': 'dialog-title' }, form);
    let result = false;
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      go.disabled = true;
      problem.textContent = '';
      try {
        result = (await submit(new FormData(form), (part) => { bar.hidden = false; bar.value = part; })) ?? true;
        box.close();
      } catch (error) {
        problem.textContent = error.message;
        go.disabled = false;
      }
    });
    box.addEventListener('close', () => { box.remove(); resolve(result); });
    document.body.append(box);
    box.showModal();
  });
}

export function empty(title, text) {
  return el('div', { class: 'card empty' }, el('strong', null, title), text || '');
}
export function failure(error, retry) {
  return el('div', { class: 'card empty error', role: 'alert' }, el('strong', null, 'This cannot be shown now'), el('p', null, shown(error.message)),
    retry ? el('button', { onclick: retry }, 'Try again') : null);
}
export const loading = () => el('div', { class: 'skeleton', role: 'status', 'aria-label': 'Loading' });

// A table; columns are { label, class }, rows arrays of cells. On a phone each row becomes a card.
export function table(columns, rows, caption) {
  return el('div', { class: 'card scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    el('table', { class: 'cards' },
      el('thead', null, el('tr', null, columns.map((c) => el('th', { scope: 'col', class: c.class }, c.head || c.label)))),
      el('tbody', null, rows.map((row) => el('tr', null, row.map((cell, i) => el('td', { class: columns[i].class, 'data-label': columns[i].label }, cell)))))));
}

export function facts(pairs) {
  return el('dl', { class: 'facts' }, pairs.filter(([, value]) => value !== '' && value !== null && value !== undefined)
    .map(([name, value]) => [el('dt', null, name), el('dd', null, typeof value === 'string' ? shown(value) : value)]));
}
