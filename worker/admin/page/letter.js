// letter.js - one dead letter: its story, and what can be done about it.
import { ask, dialog, el, empty, facts, failure, isOperator, loading, shown, tag, toast, when } from './ui.js';
import { act, why } from './dead.js';

// "1700000000000 text\n..." as list items.
export function story(lines) {
  return el('ol', { class: 'story' }, lines.map(({ at_ms, what }) => el('li', null, when(at_ms), el('span', null, shown(what)))));
}

function pretty(args) {
  try {
    return JSON.stringify(JSON.parse(args), null, 2);
  } catch {
    return args;
  }
}

// Whether writing it anew would change a value: a number that JavaScript cannot hold, a member that stands there twice.
const faithful = (args) => {
  try {
    return JSON.stringify(JSON.parse(args)) === args.replace(/("(?:[^"\\]|\\.)*")|\s+/g, '$1');
  } catch {
    return false;
  }
};

async function edit(x) {
  const text = faithful(x.args || '') ? pretty(x.args) : x.args || '{}';
  const done = await dialog({
    title: 'Edit and retry', confirm: 'Retry as a new job', wide: true,
    body: [el('p', null, 'It goes on under a new id that names this one as its origin, and this letter is dropped. Both go into the audit.'),
      el('label', null, 'Kind', el('input', { name: 'kind', value: x.kind || '', required: true, spellcheck: 'false' })),
      el('label', null, 'Args', el('textarea', { name: 'args', spellcheck: 'false', required: true }, text)), why()],
    submit: (data) => ask('dead/edit', { ticket: x.ticket, args: data.get('args'), kind: data.get('kind'), why: data.get('why') }),
  });
  if (!done) return;
  toast('Goes on as ' + done.ticket);
  location.hash = '#/dead';
}

export function letter(ticket) {
  const body = el('div', { class: 'stack' }, loading());
  const node = el('div', { class: 'stack' }, el('div', { class: 'head' }, el('h1', null, 'Dead letter'), el('code', null, ticket), el('a', { class: 'push', href: '#/dead' }, 'All dead letters')), body);
  const back = () => { location.hash = '#/dead'; };

  async function refresh() {
    let x;
    try {
      x = await ask('dead/' + encodeURIComponent(ticket));
    } catch (error) {
      body.replaceChildren(error.status === 404 ? empty('No such dead letter', 'Somebody has dealt with it, or it never was: see Job and Audit.') : failure(error, refresh));
      return;
    }
    const history = (x.history || '').split('\n').filter(Boolean).map((line) => ({ at_ms: Number(line.split(' ', 1)[0]), what: line.slice(line.indexOf(' ') + 1) }));
    const numbers = [['Attempts', x.attempts], ['Handed back', x.requeues], ['Workers lost', x.deliveries]].map(([name, n]) => [name, String(n)]);
    body.replaceChildren(
      el('section', { class: 'card' }, el('div', { class: 'head' }, tag(x.reason, 'bad'), el('span', null, shown(x.meaning))), el('p', { class: 'mono' }, shown(x.error)),
        isOperator() ? el('div', { class: 'actions' }, el('button', { class: 'main', onclick: () => act('retry', [x.ticket], back) }, 'Retry'),
          el('button', { onclick: () => edit(x) }, 'Edit and retry'), el('button', { class: 'danger', onclick: () => act('drop', [x.ticket], back) }, 'Drop')) : null),
      el('section', { class: 'card' }, el('h2', null, 'Facts'), facts([['Id', x.id], ['Kind', x.kind], ['Key', x.key], ['SQLSTATE', x.sqlstate], ['Died', when(x.dead_at_ms)],
        ['Enqueued', when(Number(x.ticket.split('-')[0]))], ...numbers, ['Worker', x.worker], ['Trace', x.traceparent],
        ['Not before', x.not_before && when(Number(x.not_before))], ['Expires', x.expires_at && when(Number(x.expires_at))], ['Answer wanted', x.reply && 'yes']])),
      el('section', { class: 'card' }, el('h2', null, 'What happened'), history.length ? story(history) : el('p', { class: 'dim' }, 'Nothing was noted.')),
      el('section', { class: 'card' }, el('h2', null, x.raw ? 'The entry as it came, byte by byte' : 'Args'),
        el('pre', { class: 'payload', tabindex: '0', role: 'region', 'aria-label': 'Payload' }, shown(x.raw || (faithful(x.args || '') ? pretty(x.args) : x.args)))));
  }
  return { node, refresh, every_ms: 0 };
}
