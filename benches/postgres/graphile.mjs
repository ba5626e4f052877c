// graphile-worker at its documented best for throughput: addJobs in bulk, localQueue, jobs taken and completed in batches.
// node graphile.mjs URL JOBS BATCH -> one line of JSON
import { createRequire } from "node:module";
const require = createRequire(process.cwd() + "/");
const { run, makeWorkerUtils } = require("graphile-worker");
const [url, total, batch] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const quiet = { logger: new (require("graphile-worker").Logger)(() => () => {}) };
const utils = await makeWorkerUtils({ connectionString: url, ...quiet });
await utils.migrate();
const payload = { text: "x".repeat(96) };
let start = performance.now();
for (let at = 0; at < total; at += batch)
  await utils.addJobs(Array.from({ length: batch }, () => ({ identifier: "send_email", payload })));
const enqueue = (performance.now() - start) / 1000;
let left = total;
let finished;
const done = new Promise((resolve) => (finished = resolve));
start = performance.now();
const runner = await run({
  connectionString: url, ...quiet, concurrency: 100, pollInterval: 100, noHandleSignals: true,
  taskList: { send_email: async () => { if (--left === 0) finished(); } },
  preset: { worker: { concurrentJobs: 100, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0, maxPoolSize: 10, ...quiet } },
});
await done;
await runner.stop(); // waits for the last acknowledgement
const drain = (performance.now() - start) / 1000;
await utils.release();
console.log(JSON.stringify({ enqueue_per_s: total / enqueue, drain_per_s: total / drain }));
process.exit(0);
