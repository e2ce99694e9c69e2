// SPDX-License-Identifier: GPL-2.0-or-later
// enclave.js DIR IMAGE OTHER: an enclave from a node program; OTHER is one that lacks everything.
const fs = require('fs');
const { pipeline } = require('stream/promises');
const readline = require('readline');
const [dir, image, other] = process.argv.slice(2);

async function refusal(write) {
	try {
		await write();
	} catch (error) {
		return error.code;
	}
	return 'OK';
}

async function main() {
	const told = {};

	fs.writeFileSync(dir + '/memory', '64M\n');
	await fs.promises.writeFile(dir + '/vcpus', '2\n');
	fs.writeFileSync(dir + '/cid', '17\n', { flag: 'r+' });
	await fs.promises.writeFile(dir + '/debug', '1\n');
	await pipeline(async function* () { yield '30\n'; }, fs.createWriteStream(dir + '/boot_timeout'));
	fs.copyFileSync(image, dir + '/image');
	await fs.promises.copyFile(dir + '/image', image + '.back');
	await pipeline(fs.createReadStream(image), fs.createWriteStream(dir + '/image'));
	fs.writeFileSync(dir + '/start', '1\n');
	told.wait = (await fs.promises.readFile(dir + '/wait', 'utf8')).trim();
	told.state = fs.readFileSync(dir + '/state', 'utf8');
	told.events = await fs.promises.readFile(dir + '/events', 'utf8');
	told.measurements = fs.readFileSync(dir + '/measurements', 'utf8');
	told.journal = [];
	for await (const line of readline.createInterface({ input: fs.createReadStream(dir + '/journal') }))
		told.journal.push(JSON.parse(line).event);
	told.refused = await refusal(() => fs.promises.writeFile(dir + '/memory', '64MB\n'));
	told.unset = await refusal(() => fs.writeFileSync(other + '/start', '1\n'));
	console.log(JSON.stringify(told));
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
