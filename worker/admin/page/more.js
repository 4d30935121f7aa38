// more.js - the smaller pages: one job, the lines, the audit.
import { ask, count, el, empty, facts, failure, loading, query, shown, table, tag, when } from './ui.js';
import { story } from './letter.js';

const PLACE = { done: 'good', dead: 'bad', unknown: 'warn' };

function showJob(x) {
  const l = x.ledger;
  return [
    el('section', { class: 'card' }, el('div', { class: 'head' }, tag(x.state, PLACE[x.state]), el('strong', { class: 'mono' }, shown(x.id)),
      x.state === 'dead' ? el('a', { class: 'push', href: '#/dead/' + x.ticket }, 'Open the dead letter') : null),
    facts([['Ticket', x.ticket], ['Kind', x.kind], ['Key', x.key], ['Attempts', x.attempts ? String(x.attempts) : ''], ['Error', x.error], ['Worker', x.worker]])),
    el('section', { class: 'card' }, el('h2', null, 'In the ledger'), l ? facts([['Outcome', tag(l.outcome, l.outcome === 'applied' ? 'good' : 'warn')], ['Code', l.code], ['Kind', l.kind],
      ['Booking', l.booking_id], ['Version', l.version === null ? '' : String(l.version)], ['Enqueued', when(l.enqueued_ms)], ['Applied', when(l.applied_ms)], ['Worker', l.worker],
      ['Seen', String(l.deliveries) + ' times'], ['Trace', l.traceparent]]) : el('p', { class: 'dim' }, 'Not there: it has had no effect so far.')),
    x.history.length ? el('section', { class: 'card' }, el('h2', null, 'What happened'), story(x.history)) : null,
    x.args ? el('section', { class: 'card' }, el('h2', null, 'Args'), el('pre', { class: 'payload', tabindex: '0', role: 'region', 'aria-label': 'Args' }, shown(x.args))) : null].filter(Boolean);
}

export function job() {
  const input = el('input', { name: 'q', type: 'search', required: true, maxlength: '128', autocomplete: 'off', spellcheck: 'false', placeholder: 'order-17-create or 1700000000000-0' });
  const result = el('div', { class: 'stack' }, empty('Where is a job?', 'Its id or its ticket tells.'));
  const form = el('form', { class: 'card row', role: 'search' }, el('label', null, 'Id or ticket', input), el('button', { class: 'main' }, 'Find'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    result.replaceChildren(loading());
    try {
      result.replaceChildren(...showJob(await ask('job' + query({ q: input.value.trim() }))));
    } catch (error) {
      result.replaceChildren(error.status === 404 ? empty('Nobody knows this job', 'Neither the queue nor the ledger has it.') : failure(error));
    }
  });
  return { node: el('div', { class: 'stack' }, el('div', { class: 'head' }, el('h1', null, 'Job')), form, result), refresh: async () => {}, every_ms: 0 };
}

// A page that shows what one question gives, again and again.
function listing(title, text, every_ms, draw) {
  const body = el('div', { class: 'stack' }, loading());
  async function refresh() {
    try {
      await draw(body);
    } catch (error) {
      if (body.querySelector('.skeleton, .error')) body.replaceChildren(failure(error, refresh));
      throw error;
    }
  }
  return { node: el('div', { class: 'stack' }, el('div', { class: 'head' }, el('h1', null, title), el('span', { class: 'dim' }, text)), body), refresh, every_ms };
}

export function lines() {
  return listing('Lines', 'jobs of one key run one at a time', 3000, async (body) => {
    const found = (await ask('lines')).lines;
    body.replaceChildren(found.length ? table([{ label: 'Key' }, { label: 'Waiting', class: 'num' }, { label: 'First in line' }, { label: 'Behind' }, { label: 'which is' }, { label: 'Worker' }],
      found.map((x) => [el('span', { class: 'mono' }, shown(x.key)), count(x.waiting), el('span', { class: 'mono' }, x.first), el('span', { class: 'mono' }, x.holder || '–'),
        x.place ? tag(x.place) : '–', shown(x.worker)]), 'Lines') : empty('No job waits for another', 'Every key has at most one job that has left the inbox.'));
  });
}

export function audit() {
  let older = null; // entries behind the first page, once asked for
  let next = '';
  return listing('Audit', 'who did what, newest first', 5000, async function draw(body) {
    const page = await ask('audit');
    if (older === null) next = page.next;
    const entries = page.entries.concat(older || []);
    const more = el('button', { hidden: !next, onclick: async () => {
      const rest = await ask('audit' + query({ before: next }));
      older = (older || []).concat(rest.entries);
      next = rest.next;
      draw(body);
    } }, 'Older');
    const tickets = (x) => (x.tickets.length > 3 ? x.tickets.slice(0, 3).join(' ') + ' and ' + count(x.tickets.length - 3) + ' more' : x.tickets.join(' '));
    body.replaceChildren(entries.length ? table([{ label: 'When' }, { label: 'Who' }, { label: 'What' }, { label: 'Why' }, { label: 'Tickets' }],
      entries.map((x) => [when(new Date(x.at).getTime()), shown(x.who), [tag(x.verb), ' ', ...shown(x.detail)], shown(x.why), el('span', { class: 'mono', title: x.tickets.join(' ') }, tickets(x))]), 'Audit')
      : empty('No admin has acted yet', 'Every change leaves its line here.'), more);
  });
}
