// Jobs of Bull, whose scripts unpack MessagePack and JSON: node jobs.mjs HOST:PORT,HOST:PORT,...
//
// Asked for at the first node, done by workers at the others. Ends with 0 if all were done rightly.

import assert from "node:assert";
import Bull from "bull";

const places = process.argv[2].split(",").map((place) => place.split(":"));
const queues = places.map(([host, port]) => new Bull("jobs", { redis: { host, port: Number(port) } }));
const [queue, ...workers] = queues;

let tries = 0;
async function work({ name, data }) {
  if (name === "failing" || (name === "stubborn" && ++tries < 3)) throw new Error("as it should");
  return 2 * data.number;
}
for (const worker of workers) worker.process("*", 2, work);

const answer = async (name, number, options) =>
  (await queue.add(name, { number }, options)).finished();

const numbers = (count) => Array.from({ length: count }, (_, number) => number);
const plain = await Promise.all(numbers(30).map((number) => answer("plain", number)));
assert.deepEqual(
  plain,
  numbers(30).map((number) => 2 * number),
);
const many = (name, count) => queue.addBulk(numbers(count).map((number) => ({ name, data: { number } })));
const bulk = await many("plain", 3);
assert.deepEqual(await Promise.all(bulk.map((job) => job.finished())), [0, 2, 4]);
assert.equal(await answer("late", 4, { delay: 300 }), 8);
assert.equal(await answer("important", 5, { priority: 1 }), 10);
assert.equal(await answer("stubborn", 6, { attempts: 3, backoff: 50 }), 12);
await assert.rejects(answer("failing", 7), /as it should/);

await queue.pause();
await many("waiting", 500);
assert.equal((await queue.getJobCounts()).paused, 500);
await queue.empty(); // one script
const counts = await queue.getJobCounts();
assert.deepEqual([counts.paused, counts.completed, counts.failed], [0, 36, 1]);

await Promise.all(queues.map((each) => each.close()));
