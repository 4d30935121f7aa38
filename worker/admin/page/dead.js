// dead.js - the dead letters: filter, sort, select, act. A bulk change counts first and acts on exactly what was counted.
import { ask, count, dialog, el, empty, failure, isOperator, KINDS, loading, query, REASONS, send, shown, tag, toast, when } from './ui.js';

const LIMIT = 50;
const filter = { reason: '', kind: '', key: '', text: '', since: '', until: '', order: 'newest' }; // stays while the page is open

const iso = (value) => (value ? new Date(value).toISOString() : '');
function asked(extra) {
  return { ...filter, since: iso(filter.since), until: iso(filter.until), ...extra };
}

export async function act(verb, tickets, after) {
  const one = tickets.length === 1 ? 'this letter' : count(tickets.length) + ' letters';
  const done = await dialog({
    title: (verb === 'retry' ? 'Retry ' : 'Drop ') + one + '?',
    body: [el('p', null, verb === 'retry' ? 'They keep their ids, so nothing can apply twice.' : 'They are forgotten for good. The audit keeps their tickets.'), why()],
    confirm: verb === 'retry' ? 'Retry' : 'Drop', danger: verb === 'drop',
    submit: (data) => ask('dead/' + verb, { tickets, why: data.get('why') }),
  });
  if (!done) return;
  const missed = done.asked - done.acted;
  toast(count(done.acted) + (verb === 'retry' ? ' brought back' : ' dropped') + (missed ? '; ' + count(missed) + ' had been dealt with already' : ''), !done.acted);
  after();
}

export const why = () => el('label', null, 'Why (goes into the audit)', el('input', { name: 'why', maxlength: '300', autocomplete: 'off' }));

async function countAll() {
  const part = await ask('dead' + query(asked({ count: '1' })));
  let { next } = part;
  while (next) { // a long walk comes in parts
    const more = await ask('dead' + query(asked({ count: '1', until: part.until_ms, cursor: next })));
    part.count += more.count;
    next = more.next;
  }
  return part;
}

async function bulk(verb, after) {
  let counted;
  try {
    counted = await countAll();
  } catch (error) {
    toast(error.message, true);
    return;
  }
  if (!counted.count) {
    toast('No letter fits the filter');
    return;
  }
  let acted = 0;
  await dialog({
    title: (verb === 'retry' ? 'Retry' : 'Drop') + ' all ' + count(counted.count) + ' that fit the filter?',
    body: [el('p', null, 'Exactly these, as counted now; what dies in the meantime is left alone.'),
      verb === 'drop' ? el('p', { class: 'problem' }, 'Dropped letters are gone for good. Export them first if in doubt.') : el('p', null, 'They keep their ids, so nothing can apply twice.'), why()],
    confirm: (verb === 'retry' ? 'Retry ' : 'Drop ') + count(counted.count), danger: verb === 'drop',
    submit: async (data, progress) => {
      let cursor = '';
      do {
        const step = await ask('dead/' + verb, { filter: asked({ until: String(counted.until_ms) }), cursor, why: data.get('why') });
        acted += step.acted;
        cursor = step.next;
        progress(acted / counted.count);
      } while (cursor);
    },
  });
  if (acted) toast(count(acted) + (verb === 'retry' ? ' brought back' : ' dropped'));
  after();
}

async function save() {
  const parts = [];
  let cursor = '';
  let left = 0;
  try {
    do {
      const part = await send('dead/export' + query(asked({ cursor })));
      parts.push(await part.blob());
      left += Number(part.headers.get('X-Left-Out'));
      cursor = part.headers.get('X-Next');
    } while (cursor !== 'end');
  } catch (error) {
    toast('Not exported: ' + error.message, true);
    return;
  }
  const url = URL.createObjectURL(new Blob(parts, { type: 'application/x-ndjson' }));
  el('a', { href: url, download: 'dead-letters.jsonl' }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  if (left) toast(count(left) + ' left out: malformed, they can be no line');
}

function filterForm(changed) {
  const choice = (name, label, values) => el('label', null, label, el('select', { name }, el('option', { value: '' }, 'any'),
    values.map((v) => el('option', { value: v, selected: filter[name] === v }, v))));
  const field = (name, label, type, hint) => el('label', null, label, el('input', { name, type, value: filter[name], placeholder: hint || '', autocomplete: 'off', spellcheck: 'false' }));
  const form = el('form', { class: 'card filters', role: 'search', 'aria-label': 'Filter' }, choice('reason', 'Reason', REASONS), choice('kind', 'Kind', KINDS),
    field('key', 'Key', 'text', 'booking id'), field('text', 'Text', 'search', 'in id, args, error'), field('since', 'Died since', 'datetime-local'), field('until', 'Died until', 'datetime-local'),
    el('div', { class: 'actions' }, el('button', { class: 'main', type: 'submit' }, 'Filter'), el('button', { type: 'reset' }, 'Clear')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    Object.assign(filter, Object.fromEntries(new FormData(form)));
    changed();
  });
  form.addEventListener('change', (event) => event.target.tagName === 'SELECT' && form.requestSubmit());
  form.addEventListener('reset', () => {
    Object.assign(filter, { reason: '', kind: '', key: '', text: '', since: '', until: '' });
    for (const input of form.elements) if (input.name) input.defaultValue = '';
    changed();
  });
  return form;
}

export function dead() {
  const picked = new Set();
  const behind = []; // cursors of the pages before this one
  let cursor = '';
  let last = '';
  let page = { letters: [], next: '' };
  const list = el('div', null, loading());
  const reload = () => { last = ''; document.dispatchEvent(new Event('refresh')); };
  const restart = () => { cursor = ''; behind.length = 0; picked.clear(); list.replaceChildren(loading()); reload(); };
  const button = (label, onclick, props) => el('button', { onclick, ...props }, label);
  const retry = button('Retry', () => act('retry', [...picked], () => { picked.clear(); reload(); }));
  const drop = button('Drop', () => act('drop', [...picked], () => { picked.clear(); reload(); }), { class: 'danger' });
  const tally = el('span', { class: 'dim', role: 'status' });
  const tools = el('div', { class: 'actions' }, isOperator() ? [retry, drop, tally, el('span', { class: 'push' }),
    button('Retry all that fit', () => bulk('retry', restart)), button('Drop all that fit', () => bulk('drop', restart), { class: 'danger' })] : null, button('Export', save));

  function mark() {
    retry.disabled = drop.disabled = picked.size === 0;
    tally.textContent = picked.size ? count(picked.size) + ' selected' : '';
    for (const row of list.querySelectorAll('tbody tr')) {
      const box = row.querySelector('input');
      if (box) box.checked = picked.has(box.value);
      row.classList.toggle('picked', picked.has(row.dataset.ticket));
    }
  }

  function row(x) {
    const pick = el('input', { type: 'checkbox', value: x.ticket, 'aria-label': 'Select ' + x.ticket, checked: picked.has(x.ticket) });
    pick.addEventListener('change', () => { pick.checked ? picked.add(x.ticket) : picked.delete(x.ticket); mark(); });
    return el('tr', { 'data-ticket': x.ticket }, isOperator() ? el('td', { 'data-label': 'Select' }, pick) : null,
      el('td', { 'data-label': 'Died' }, when(x.dead_at_ms)),
      el('td', { 'data-label': 'Ticket' }, el('a', { href: '#/dead/' + x.ticket, class: 'mono' }, x.ticket)), el('td', { 'data-label': 'Reason' }, tag(x.reason, 'bad')),
      el('td', { class: 'clip kind', 'data-label': 'Kind', title: x.kind }, shown(x.kind)), el('td', { class: 'clip', 'data-label': 'Id', title: x.id }, shown(x.id)),
      el('td', { class: 'clip', 'data-label': 'Error', title: x.error }, shown(x.error)), el('td', { class: 'num', 'data-label': 'Attempts' }, count(x.attempts)));
  }

  function draw() {
    if (!page.letters.length) {
      const filtered = Object.entries(filter).some(([name, value]) => name !== 'order' && value);
      list.replaceChildren(behind.length ? empty('Nothing left on this page', button('Back to the first', restart)) :
        filtered ? empty('No letter fits this filter', 'Clear it to see all.') : empty('No dead letters', 'Nothing needs you here.'));
      return;
    }
    const focused = document.activeElement && document.activeElement.closest('tr[data-ticket]');
    const tickets = page.letters.map((x) => x.ticket);
    const all = el('input', { type: 'checkbox', 'aria-label': 'Select all on this page', checked: tickets.every((t) => picked.has(t)) });
    all.addEventListener('change', () => { for (const t of tickets) all.checked ? picked.add(t) : picked.delete(t); mark(); });
    const newest = filter.order === 'newest';
    const sort = el('button', { onclick: () => { filter.order = newest ? 'oldest' : 'newest'; restart(); } }, 'Died ' + (newest ? '▼' : '▲'));
    const head = [isOperator() ? el('th', { scope: 'col' }, all) : null, el('th', { scope: 'col', 'aria-sort': newest ? 'descending' : 'ascending' }, sort),
      ['Ticket', 'Reason', 'Kind', 'Id', 'Error'].map((t) => el('th', { scope: 'col' }, t)), el('th', { scope: 'col', class: 'num' }, 'Attempts')];
    list.replaceChildren(el('div', { class: 'card scroll', tabindex: '0', role: 'region', 'aria-label': 'Dead letters' },
      el('table', { class: 'cards' }, el('thead', null, el('tr', null, head)), el('tbody', null, page.letters.map(row)))),
    el('div', { class: 'actions pager' }, button('Previous', () => { cursor = behind.pop(); reload(); }, { disabled: !behind.length }),
      button('Next', () => { behind.push(cursor); cursor = page.next; reload(); }, { disabled: !page.next }), el('span', { class: 'dim' }, 'page ' + (behind.length + 1))));
    if (focused) list.querySelector('tr[data-ticket="' + focused.dataset.ticket + '"] a')?.focus();
  }

  async function refresh() {
    let text;
    try {
      let found = await ask('dead' + query(asked({ limit: LIMIT, cursor })));
      while (!found.letters.length && found.next) found = await ask('dead' + query(asked({ limit: LIMIT, cursor: found.next }))); // a long search
      page = found;
      text = JSON.stringify([page.letters, page.next]);
    } catch (error) {
      list.replaceChildren(failure(error, reload));
      last = '';
      throw error;
    }
    if (text !== last) draw();
    last = text;
    mark();
  }

  return { node: el('div', { class: 'stack' }, el('div', { class: 'head' }, el('h1', null, 'Dead letters')), filterForm(restart), tools, list), refresh, every_ms: 5000 };
}
