// app.js - log in, choose a page, keep it fresh.
import { ask, el, session, Refused, toast } from './ui.js';
import { overview } from './overview.js';
import { dead } from './dead.js';
import { letter } from './letter.js';
import { job, lines, audit } from './more.js';

const PAGES = [['overview', 'Overview', overview], ['dead', 'Dead', dead], ['job', 'Job', job], ['lines', 'Lines', lines], ['audit', 'Audit', audit]];
const main = document.getElementById('main');
const bar = document.getElementById('bar');
const live = document.getElementById('live');
let view = null;
let timer = 0;

// A view is { node, refresh, every_ms }; refresh throws what it cannot do.
async function tick(first) {
  clearTimeout(timer);
  const mine = view;
  if (!mine) return;
  if (document.visibilityState === 'visible' && (first || !document.querySelector('dialog[open]'))) {
    try {
      await mine.refresh(first);
      live.textContent = mine.every_ms ? 'live' : '';
      live.className = 'live';
    } catch (error) {
      if (mine !== view) return;
      live.textContent = 'not up to date: ' + error.message;
      live.className = 'live lost';
    }
  }
  if (mine === view && mine.every_ms) timer = setTimeout(tick, mine.every_ms);
}

function route() {
  const [, name, rest] = location.hash.split('/');
  const page = PAGES.find(([id]) => id === name) || PAGES[0];
  if (!session.name) return;
  for (const link of document.querySelectorAll('#nav a')) {
    if (link.hash === '#/' + page[0]) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = page[1] + ' · ' + session.queue + ' · booking-admin';
  view = page[0] === 'dead' && rest ? letter(rest) : page[2]();
  main.replaceChildren(view.node);
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  tick(true);
}

function enter(who) {
  Object.assign(session, who);
  document.getElementById('queue').textContent = session.queue;
  document.getElementById('who').textContent = session.name + ' · ' + session.role;
  document.getElementById('nav').replaceChildren(...PAGES.map(([id, label]) => el('a', { href: '#/' + id }, label)));
  bar.hidden = false;
  route();
}

function leave() {
  Object.assign(session, { name: '', role: '', csrf: '', queue: '' });
  clearTimeout(timer);
  view = null;
  bar.hidden = true;
  document.querySelectorAll('dialog').forEach((box) => box.close());
  document.title = 'Log in · booking-admin';
  const problem = el('p', { class: 'problem', role: 'alert' });
  const input = el('input', { type: 'password', id: 'token', autocomplete: 'current-password', required: true, 'aria-describedby': 'hint' });
  const go = el('button', { class: 'main', type: 'submit' }, 'Log in');
  const form = el('form', null, el('label', { for: 'token' }, 'Token', input),
    el('p', { id: 'hint', class: 'dim' }, 'The one next to your name in the token file.'), problem, go);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    go.disabled = true;
    problem.textContent = '';
    try {
      enter(await ask('login', { token: input.value }));
    } catch (error) {
      problem.textContent = error.message;
      go.disabled = false;
      input.select();
    }
  });
  main.replaceChildren(el('section', { class: 'card login' }, el('h1', null, 'booking-admin'), form));
  input.focus();
}

document.getElementById('logout').addEventListener('click', async () => {
  try {
    await ask('logout', {});
  } catch (error) {
    toast(error.message, true);
  }
  leave();
});
document.addEventListener('loggedout', leave);
document.addEventListener('visibilitychange', () => tick());
document.addEventListener('refresh', () => tick(true));
window.addEventListener('hashchange', route);

try {
  enter(await ask('session'));
} catch (error) {
  if (!(error instanceof Refused) || error.status !== 401) toast(error.message, true);
  leave();
}
