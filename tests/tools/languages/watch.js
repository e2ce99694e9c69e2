// SPDX-License-Identifier: GPL-2.0-or-later
// watch.js DIR: prints what node says of an enclave's files, a line an event.
const fs = require('fs');
const dir = process.argv[2];

fs.watch(dir + '/state', () => console.log('watch state', fs.readFileSync(dir + '/state', 'utf8').trim()));
fs.watchFile(dir + '/events', { interval: 200 }, (now, before) => {
	if (now.mtimeMs !== before.mtimeMs)
		console.log('watchFile events', fs.readFileSync(dir + '/events', 'utf8').replaceAll('\n', ' '));
});
// fs.watchFile has looked once by then.
setTimeout(() => console.log('watching'), 1000);
