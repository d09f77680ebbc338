// Jobs of BullMQ, which tells what becomes of them in a stream: node flows.mjs HOST:PORT,HOST:PORT,...
//
// Asked for at the first node, done by workers at the others. Ends with 0 if all were done rightly.

import assert from "node:assert";
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";

const PATIENCE_MS = 60_000;
const QUEUE = "flows";

const places = process.argv[2].split(",").map((place) => place.split(":"));
const at = ([host, port]) => ({ connection: { host, port: Number(port) } });
const [first, ...others] = places.map(at);

let tries = 0;
async function work({ name, data }) {
  if (name === "failing" || (name === "stubborn" && ++tries < 2)) throw new Error("as it should");
  return 2 * data.number;
}
const workers = others.map((other) => new Worker(QUEUE, work, { ...other, concurrency: 4 }));
const queue = new Queue(QUEUE, first);
const events = new QueueEvents(QUEUE, others[0]);
const flows = new FlowProducer(first);
await events.waitUntilReady();

const end = (job) => job.waitUntilFinished(events, PATIENCE_MS);
const answer = async (name, number, options) => end(await queue.add(name, { number }, options));

const numbers = Array.from({ length: 30 }, (_, number) => number);
const plain = await Promise.all(numbers.map((number) => answer("plain", number)));
assert.deepEqual(
  plain,
  numbers.map((number) => 2 * number),
);
const bulk = await queue.addBulk([1, 2].map((number) => ({ name: "plain", data: { number } })));
assert.deepEqual(await Promise.all(bulk.map(end)), [2, 4]);
assert.equal(await answer("late", 4, { delay: 300 }), 8);
assert.equal(await answer("important", 5, { priority: 1 }), 10);
assert.equal(await answer("stubborn", 6, { attempts: 3, backoff: 50 }), 12);
await assert.rejects(answer("failing", 7), /as it should/);

const child = (number) => ({ name: "child", queueName: QUEUE, data: { number } });
const flow = await flows.add({ ...child(9), name: "parent", children: [child(1), child(2)] });
assert.equal(await end(flow.job), 18);
assert.deepEqual(Object.values(await flow.job.getChildrenValues()).sort(), [2, 4]);

await queue.obliterate({ force: true });
assert.equal(await queue.count(), 0);
await Promise.all([...workers, events, queue, flows].map((each) => each.close()));
