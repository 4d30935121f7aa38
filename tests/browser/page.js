// page.js - the main tasks of an admin, in a browser. Environment: ADMIN_URL, IMAGES.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const url = process.env.ADMIN_URL;
const images = process.env.IMAGES;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TOKENS = { operator: 'operator-0123456789abcdef0123456789', viewer: 'viewer-0123456789abcdef0123456789' };

let run = 0;
let failed = 0;
function ok(good, name, detail) {
  run += 1;
  failed += good ? 0 : 1;
  console.log((good ? 'ok ' : 'not ok ') + run + ' - ' + name);
  if (!good && detail !== undefined) console.log(String(detail).replace(/^/gm, '# '));
}
async function step(name, body) {
  try {
    await body();
    ok(true, name);
  } catch (error) {
    ok(false, name, error.stack);
  }
}
const expect = (good, what) => { if (!good) throw new Error('expected ' + what); };

const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'] });

async function open(scheme, size, role) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: size, timezoneId: 'Europe/Berlin', locale: 'en-GB', reducedMotion: 'reduce', bypassCSP: false });
  const page = await context.newPage();
  page.problems = [];
  page.outside = [];
  page.on('console', (message) => message.type() === 'error' && !/status of 40[0-9]/.test(message.text()) && page.problems.push(message.text()));
  page.on('pageerror', (error) => page.problems.push(error.stack));
  page.on('request', (request) => /^(blob|data):/.test(request.url()) || request.url().startsWith(url) || page.outside.push(request.url()));
  page.setDefaultTimeout(10000);
  await page.goto(url);
  if (role) {
    await page.getByLabel('Token').fill(TOKENS[role]);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    await page.locator('.tile').first().waitFor();
  }
  return page;
}

async function accessible(page, name) {
  // axe runs in the page's own world by CDP, which the page's policy does not concern
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter((v) => ['serious', 'critical'].includes(v.impact));
  ok(serious.length === 0, name + ': no serious finding of axe', JSON.stringify(serious.map((v) => [v.id, v.nodes.map((n) => n.html + ' ' + n.failureSummary)]), null, 1));
}

async function tab(page, name) {
  await page.getByRole('navigation').getByRole('link', { name, exact: true }).click();
  await page.getByRole('heading', { level: 1, name: name === 'Dead' ? 'Dead letters' : name }).waitFor();
  await page.locator('.skeleton').first().waitFor({ state: 'detached' });
}
const shot = (page, name) => page.screenshot({ path: images + '/' + name + '.png' });

async function tour(scheme, size, label) {
  const page = await open(scheme, size, 'operator');
  await page.waitForTimeout(label === 'light' ? 9000 : 1500); // for the charts to have something to draw
  await shot(page, label + '-overview');
  await accessible(page, label + ' overview');
  for (const name of ['Dead', 'Job', 'Lines', 'Audit']) {
    await tab(page, name);
    await shot(page, label + '-' + name.toLowerCase());
    await accessible(page, label + ' ' + name.toLowerCase());
  }
  await tab(page, 'Dead');
  await page.locator('tbody a').first().click();
  await page.getByRole('heading', { name: 'Facts' }).waitFor();
  await shot(page, label + '-letter');
  await accessible(page, label + ' letter');
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  ok(!wide, label + ': nothing sticks out to the side');
  ok(page.problems.length === 0, label + ': no error on the console', page.problems.join('\n'));
  ok(page.outside.length === 0, label + ': nothing is asked of other hosts', page.outside.join('\n'));
  await page.context().close();
}

const desktop = { width: 1280, height: 640 };
const login = await open('light', desktop);
await step('a wrong token is told', async () => {
  await login.getByLabel('Token').fill('wrong');
  await login.getByRole('button', { name: 'Log in' }).click();
  await login.getByText('there is no such token').waitFor();
  await shot(login, 'light-login');
  await accessible(login, 'login');
});
await login.context().close();

await tour('light', desktop, 'light');
await tour('dark', desktop, 'dark');
await tour('light', { width: 390, height: 844 }, 'phone');

const page = await open('light', desktop, 'operator');
const rows = () => page.locator('tbody tr').count();
// (waitForFunction would need eval, which the page's policy forbids)
async function rowsAre(wanted) {
  for (let i = 0; i < 100 && (await rows()) !== wanted; i += 1) await page.waitForTimeout(100);
  expect((await rows()) === wanted, wanted + ' rows, not ' + (await rows()));
}

await step('hostile payloads are text', async () => {
  await tab(page, 'Dead');
  await page.getByLabel('Text').fill('<script>');
  await page.getByRole('button', { name: 'Filter' }).click();
  await rowsAre(2);
  for (const wanted of ['hostile', 'bad id', 'script']) {
    await page.getByLabel('Text').fill(wanted);
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.waitForTimeout(300);
    await page.locator('tbody a').first().click();
    await page.getByRole('heading', { name: 'Facts' }).waitFor();
    await page.goBack();
    await page.locator('tbody tr').first().waitFor();
  }
  expect(!(await page.evaluate(() => window.owned)), 'no script of a payload to have run');
  expect(!(await page.locator('main img').count()), 'no element out of a payload');
  await page.getByLabel('Text').fill('hostile-ansi');
  await page.getByRole('button', { name: 'Filter' }).click();
  await rowsAre(1);
  await page.locator('tbody a').first().click();
  await page.getByText('U+202E').first().waitFor();
  await shot(page, 'hostile');
});

await step('filter, select, retry one', async () => {
  await tab(page, 'Dead');
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.getByLabel('Reason').selectOption('unknown_kind');
  await rowsAre(7);
  const ticket = await page.locator('tbody a').first().textContent();
  await page.getByLabel('Select ' + ticket).check();
  await page.getByRole('button', { name: 'Retry', exact: true }).click();
  await page.getByLabel('Why').fill('a test');
  await shot(page, 'dialog');
  await accessible(page, 'dialog');
  await page.getByRole('dialog').getByRole('button', { name: 'Retry' }).click();
  await page.getByText('1 brought back').waitFor();
});

await step('the keyboard will do: open a letter, drop it', async () => {
  await page.locator('tbody a').first().waitFor();
  await page.locator('tbody a').first().focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Facts' }).waitFor();
  await page.getByRole('button', { name: 'Drop' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Drop' }).focus();
  await page.keyboard.press('Enter');
  await page.keyboard.type('not needed');
  await page.keyboard.press('Enter');
  await page.getByText('1 dropped').waitFor();
});

await step('edit and retry makes a new job', async () => {
  await tab(page, 'Dead');
  await page.getByLabel('Reason').selectOption('invalid_args');
  await page.getByLabel('Text').fill('web-50');
  await page.getByRole('button', { name: 'Filter' }).click();
  await rowsAre(1);
  await page.locator('tbody a').first().click();
  await page.getByRole('button', { name: 'Edit and retry' }).click();
  const args = page.getByLabel('Args').and(page.locator('textarea'));
  await args.fill('{ not json');
  await page.getByRole('button', { name: 'Retry as a new job' }).click();
  await page.getByRole('alert').filter({ hasText: 'args' }).waitFor();
  await args.fill('{"booking_id":"00000050-0000-4000-8000-000000000050","resource_id":7,"customer_id":42,"starts_at":"2031-01-01T10:00:00Z","ends_at":"2031-01-01T11:00:00Z"}');
  await shot(page, 'edit');
  await page.getByRole('button', { name: 'Retry as a new job' }).click();
  await page.getByText('Goes on as').waitFor();
  const toast = await page.locator('.toast').last().textContent();
  await tab(page, 'Job');
  await page.getByLabel('Id or ticket').fill(toast.replace('Goes on as ', ''));
  await page.getByRole('button', { name: 'Find' }).click();
  await page.getByText('web-50:edit:').first().waitFor();
  await shot(page, 'job-found');
});

await step('drop all that fit counts first', async () => {
  await tab(page, 'Dead');
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.getByLabel('Reason').selectOption('expired');
  await rowsAre(6);
  await page.getByRole('button', { name: 'Drop all that fit' }).click();
  await page.getByRole('heading', { name: 'Drop all 6' }).waitFor();
  await page.getByRole('button', { name: 'Drop 6' }).click();
  await page.getByText('No letter fits this filter').waitFor();
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.locator('tbody tr').first().waitFor();
  expect(await rows() > 6, 'the others to be there');
});

await step('export gives lines', async () => {
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export' }).click()]);
  const lines = readFileSync(await download.path(), 'utf8').trim().split('\n').map(JSON.parse);
  expect(lines.length > 5 && lines.every((line) => line.kind), 'JSON lines');
});

await step('pause and resume', async () => {
  await tab(page, 'Overview');
  await page.getByRole('button', { name: 'Pause the queue' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
  await page.locator('#paused').waitFor();
  await page.getByRole('button', { name: 'Resume the queue' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
  await page.locator('#paused').waitFor({ state: 'hidden' });
});

await step('the audit tells it all', async () => {
  await tab(page, 'Audit');
  for (const verb of ['retry', 'drop', 'edit', 'pause', 'resume']) await page.locator('tbody .tag', { hasText: verb }).first().waitFor();
  await page.getByText('token:olga').first().waitFor();
  await shot(page, 'audit');
});
ok(page.problems.length === 0, 'no error on the console', page.problems.join('\n'));

await step('a viewer sees all and has no buttons', async () => {
  const viewer = await open('light', desktop, 'viewer');
  expect(await viewer.getByRole('button', { name: 'Pause the queue' }).isHidden(), 'no switch');
  await tab(viewer, 'Dead');
  await viewer.locator('tbody tr').first().waitFor();
  expect(!(await viewer.getByRole('button', { name: 'Drop', exact: true }).count()), 'no drop');
  await viewer.context().close();
});

await step('a server that is away is told, and the page goes on when it is back', async () => {
  await tab(page, 'Dead');
  await page.route('**/api/v1/**', (route) => route.abort());
  await page.getByText('This cannot be shown now').waitFor();
  await shot(page, 'error');
  await accessible(page, 'error');
  await page.unroute('**/api/v1/**');
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('tbody tr').first().waitFor();
});

await step('log out', async () => {
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByLabel('Token').waitFor();
  const answer = await page.request.get(url + '/api/v1/overview');
  expect(answer.status() === 401, 'the session to be over');
});

await browser.close();
console.log('1..' + run);
process.exit(failed ? 1 : 0);
