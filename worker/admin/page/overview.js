// overview.js - depth by place, the last minutes as charts, the workers, the switch.
import { ask, count, dialog, el, empty, failure, isOperator, loading, session, shown, span, table, tag, toast, when } from './ui.js';

const PLACES = [['inbox', 'not taken yet'], ['ready', 'next to be taken'], ['waiting', 'behind their key’s holder'], ['active', 'held by workers'],
  ['scheduled', 'not due yet'], ['retry', 'to be tried again'], ['dead', 'for a person']];
const SVG = 'http://www.w3.org/2000/svg';

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// One curve over the samples; a sample that is not known leaves a gap.
function chart(label, samples, column, format) {
  const known = samples.filter((s) => s[column] !== null);
  const last = known.length ? known[known.length - 1][column] : null;
  const top = Math.max(1, ...known.map((s) => s[column])) * 1.1;
  const from = samples.length ? samples[0][0] : 0;
  const to = samples.length ? samples[samples.length - 1][0] : 1;
  const x = (s) => (100 * (s[0] - from) / Math.max(1, to - from)).toFixed(2);
  const y = (s) => (30 - 29 * s[column] / top).toFixed(2);
  let curve = '';
  let area = '';
  let run = [];
  const flush = () => {
    if (run.length) {
      const points = run.map((s) => x(s) + ',' + y(s)).join('L');
      curve += 'M' + points;
      area += 'M' + x(run[0]) + ',30L' + points + 'L' + x(run[run.length - 1]) + ',30Z';
    }
    run = [];
  };
  for (const s of samples) s[column] === null ? flush() : run.push(s);
  flush();
  const now = last === null ? 'not known' : format(last);
  return el('figure', { class: 'card chart-card' },
    el('div', { class: 'chart-head' }, el('h2', null, label), el('strong', null, now)),
    svg('svg', { class: 'chart', viewBox: '0 0 100 31', preserveAspectRatio: 'none', role: 'img', 'aria-label': label + ', now ' + now },
      svg('path', { class: 'area', d: area || 'M0,30' }), svg('path', { class: 'curve', d: curve || 'M0,30' }),
      svg('line', { class: 'base', x1: 0, x2: 100, y1: 30, y2: 30 })),
    el('div', { class: 'chart-foot' }, el('span', null, span(to - from) + ' ago'), el('span', null, 'highest ' + format(Math.max(0, ...known.map((s) => s[column])))), el('span', null, 'now')));
}

function workers(list) {
  if (!list.length) return empty('No worker runs', 'Jobs wait in the inbox and are safe. Start one: booking-worker');
  const state = { running: 'good', working: 'good', stopping: 'warn', quiet: 'warn' };
  const breaker = { closed: 'good', 'half-open': 'warn', half_open: 'warn', open: 'bad' };
  return table([{ label: 'Worker' }, { label: 'State' }, { label: 'Breaker' }, { label: 'Lanes', class: 'num' }, { label: 'Holds', class: 'num' },
    { label: 'Jobs', class: 'num' }, { label: 'Pool' }, { label: 'Started' }, { label: 'Last beat' }],
  list.map((w) => [el('span', { class: 'mono' }, shown(w.name)), tag(w.state, state[w.state]), tag(w.breaker, breaker[w.breaker] || 'warn'), count(w.lanes),
    count(w.held), count(w.jobs), pool(w.pool), when(w.started_at), w.beat_at ? span(Date.now() - w.beat_at) + ' ago' : '–']), 'Workers');
}

function pool(p) {
  if (p.max === undefined) return '–';
  const text = p.active + ' used, ' + p.idle + ' idle of ' + p.max;
  const bad = p.last_error && !p.total;
  return el('span', { title: p.last_error || '' }, text, p.waiting ? tag(p.waiting + ' wait', 'warn') : null, bad ? tag('no connection', 'bad') : null);
}

async function toggle(paused) {
  const done = await dialog({
    title: paused ? 'Let the workers go on?' : 'Pause the queue?',
    body: el('p', null, paused ? 'Workers take jobs again at once.' : 'No worker takes jobs until somebody resumes. Enqueuing goes on; nothing is lost.'),
    confirm: paused ? 'Resume' : 'Pause', danger: !paused,
    submit: () => ask('paused', { paused: !paused }),
  });
  if (done) toast(paused ? 'Resumed' : 'Paused');
  if (done) document.dispatchEvent(new Event('refresh'));
}

export function overview() {
  const body = el('div', { class: 'tiles-and-more' }, loading());
  const button = el('button', { class: 'push', hidden: true });
  const node = el('div', { class: 'stack' }, el('div', { class: 'head' }, el('h1', null, 'Overview'), el('span', { class: 'dim', id: 'ages' }), button), body);
  let paused = false;
  button.addEventListener('click', () => toggle(paused));
  const refresh = async () => {
    let data;
    try {
      data = await ask('overview?history=1');
    } catch (error) {
      if (body.querySelector('.skeleton, .error')) body.replaceChildren(failure(error, () => document.dispatchEvent(new Event('refresh'))));
      throw error;
    }
    const { status, history } = data;
    paused = status.paused;
    document.getElementById('paused').hidden = !paused;
    button.hidden = !isOperator();
    button.textContent = paused ? 'Resume the queue' : 'Pause the queue';
    node.querySelector('#ages').textContent = (status.oldest_ms ? 'oldest job waits ' + span(status.oldest_ms) : 'no job waits') +
      (status.dead ? ' · oldest dead letter ' + span(status.oldest_dead_ms) : '');
    const focused = document.activeElement && document.activeElement.closest('a.tile');
    body.replaceChildren(
      el('section', { class: 'tiles', 'aria-label': 'Depth by place' }, PLACES.map(([place, meaning]) => {
        const inside = [el('b', null, count(status[place])), place, el('br'), el('span', null, meaning)];
        if (place === 'dead') return el('a', { class: 'tile' + (status.dead ? ' bad' : ''), href: '#/dead' }, inside);
        return place === 'waiting' ? el('a', { class: 'tile', href: '#/lines' }, inside) : el('div', { class: 'tile' }, inside);
      })),
      el('section', { class: 'charts', 'aria-label': 'The last minutes' }, chart('Throughput', history.samples, 1, (v) => v.toFixed(v < 10 ? 1 : 0) + ' jobs/s'),
        chart('Oldest job', history.samples, 2, span), chart('Backlog', history.samples, 3, count)),
      el('section', { 'aria-label': 'Workers' }, el('h2', null, 'Workers of ' + session.queue), workers(status.workers)));
    if (focused) body.querySelector('a.tile[href="' + focused.getAttribute('href') + '"]').focus();
  };
  return { node, refresh, every_ms: 2000 };
}
