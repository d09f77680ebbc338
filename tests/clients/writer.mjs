// Writes through Redis clients until told to stop: node writer.mjs KIND,KIND,... SEED,SEED,...
//
// A line on stdout for each write that was acknowledged, KIND number: the key KIND:number holds the
// number. After a line on stdin, the last line is JSON: for each kind the role of the node that it
// talks to at the end, and the errors that it left to its user. A write with an error is made again.

import { createInterface } from "node:readline";
import { Cluster, Redis } from "ioredis";
import { createClient, createCluster, createSentinel } from "redis";

const [list, places] = process.argv.slice(2);
// Made anew for each client: they write into what they are given.
const seeds = () =>
  places.split(",").map((place) => {
    const [host, port] = place.split(":");
    return { host, port: Number(port) };
  });
const name = "raftcache";
const late = (attempt) => Math.min(20 * attempt, 200);

async function ioredis() {
  const client = new Redis({ ...seeds()[0], retryStrategy: late });
  client.on("error", () => {});
  return [(key, value) => client.set(key, value), () => client.role(), () => client.disconnect()];
}

async function ioredisCluster() {
  const client = new Cluster(seeds(), {
    clusterRetryStrategy: late,
  });
  client.on("error", () => {});
  const role = () => client.nodes("master")[0].role();
  return [(key, value) => client.set(key, value), role, () => client.disconnect()];
}

async function ioredisSentinel() {
  const client = new Redis({ sentinels: seeds(), name, sentinelRetryStrategy: late, retryStrategy: late });
  client.on("error", () => {});
  return [(key, value) => client.set(key, value), () => client.role(), () => client.disconnect()];
}

async function nodeRedis() {
  const client = createClient({ socket: { ...seeds()[0], reconnectStrategy: late } });
  client.on("error", () => {});
  await client.connect();
  return [(key, value) => client.set(key, value), () => client.role(), () => client.destroy()];
}

async function nodeRedisCluster() {
  const rootNodes = seeds().map((socket) => ({ socket }));
  const client = createCluster({
    rootNodes,
    defaults: { socket: { reconnectStrategy: late } },
    topologyRefreshOnReconnectionAttemptStrategy: 100,
  });
  client.on("error", () => {});
  await client.connect();
  const role = async () => (await client.nodeClient(client.masters[0])).role();
  return [(key, value) => client.set(key, value), role, () => client.destroy()];
}

async function nodeRedisSentinel() {
  const client = createSentinel({ name, sentinelRootNodes: seeds() });
  client.on("error", () => {});
  await client.connect();
  const role = () => client.use((leased) => leased.role());
  return [(key, value) => client.set(key, value), role, () => client.destroy()];
}

const kinds = {
  ioredis,
  "ioredis-cluster": ioredisCluster,
  "ioredis-sentinel": ioredisSentinel,
  "node-redis": nodeRedis,
  "node-redis-cluster": nodeRedisCluster,
  "node-redis-sentinel": nodeRedisSentinel,
};

let ends = false;
createInterface({ input: process.stdin }).once("line", () => (ends = true));

async function write(kind) {
  const [set, role, close] = await kinds[kind]();
  const errors = [];
  for (let number = 1; !ends; ) {
    try {
      await set(`${kind}:${number}`, `${number}`);
      console.log(`${kind} ${number++}`);
    } catch (error) {
      errors.push(`${error}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  const said = await role();
  close();
  return [kind, { role: said.role ?? said[0], errors }];
}

const told = await Promise.all(list.split(",").map(write));
console.log(JSON.stringify(Object.fromEntries(told)));
process.exit(0);
