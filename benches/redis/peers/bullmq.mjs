// BullMQ as benches/redis/peers/bullmq.py drives it: one JSON line in, {"op", "jobs", "batch"}, one out, {"seconds", "cpu"}.
// At its documented best: addBulk; Promise.all over getNextJob and moveToCompleted, which ioredis writes as one pipeline; for
// the full life a Worker, whose scripts settle one job and fetch the next, of a concurrency of 100 at most: more was slower.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
const require = createRequire(process.cwd() + "/");
const { Queue, Worker } = require("bullmq");
const IORedis = require("ioredis");

const [url, inFlight] = [process.argv[2], Number(process.argv[3])];
const connect = () => new IORedis(url, { maxRetriesPerRequest: null });
const payload = { text: "x".repeat(96) };
const token = "token-of-the-bench";
const queue = new Queue("bench", { connection: connect() });
await queue.waitUntilReady();
let worker = null; // for claims by hand: it runs nothing by itself
let held = [];

// Calls `step` so many times, `inFlight` at once.
const times = async (count, step) => {
  let left = count;
  const loop = async () => {
    while (left-- > 0) await step();
  };
  await Promise.all(Array.from({ length: inFlight }, loop));
};

const add = (batch) =>
  batch === 1
    ? queue.add("send_email", payload)
    : queue.addBulk(Array.from({ length: batch }, () => ({ name: "send_email", data: payload })));

const ops = {
  enqueue: async (jobs, batch) => times(jobs / batch, () => add(batch)),
  claim: async (jobs, batch) => {
    worker = new Worker("bench", null, { connection: connect(), autorun: false });
    await worker.waitUntilReady();
    await times(jobs / batch, async () => {
      held.push(await Promise.all(Array.from({ length: batch }, () => worker.getNextJob(token, { block: false }))));
    });
  },
  settle: async () => {
    await times(held.length, async () => {
      const batch = held.shift();
      await Promise.all(batch.map((job) => job.moveToCompleted(null, token, false)));
    });
    await worker.close();
  },
  life: async (jobs, batch) => {
    await ops.enqueue(jobs, batch);
    let left = jobs;
    let finished;
    const all = new Promise((resolve) => (finished = resolve));
    const runner = new Worker("bench", async () => {}, { connection: connect(), concurrency: Math.min(batch * inFlight, 100) });
    runner.on("completed", () => {
      if (--left === 0) finished();
    });
    await all; // the event comes after the acknowledgement
    ops.after = () => runner.close();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { op, jobs, batch } = JSON.parse(line);
  const [begun, used] = [performance.now(), process.cpuUsage()];
  await ops[op](jobs, batch);
  const spent = process.cpuUsage(used);
  const seconds = (performance.now() - begun) / 1000;
  if (ops.after) await ops.after();
  ops.after = null;
  console.log(JSON.stringify({ seconds, cpu: (spent.user + spent.system) / 1e6 }));
}
process.exit(0);
