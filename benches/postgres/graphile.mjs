// graphile-worker at its documented best for throughput: addJobs in bulk, localQueue, jobs taken and completed in batches.
// node graphile.mjs URL JOBS BATCH [FOLDER_WITH_NODE_MODULES]; a line of stdin starts a phase, a line of stdout ends it.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
const require = createRequire((process.argv[5] ?? process.cwd()) + "/");
const { run, makeWorkerUtils, Logger } = require("graphile-worker");
const [url, total, batch] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const quiet = { logger: new Logger(() => () => {}) };
const utils = await makeWorkerUtils({ connectionString: url, ...quiet });
const payload = { text: "x".repeat(96) };
let runner;
console.log("ready");
for await (const phase of createInterface({ input: process.stdin })) {
  if (phase === "enqueue")
    for (let at = 0; at < total; at += batch)
      await utils.addJobs(Array.from({ length: Math.min(batch, total - at) }, () => ({ identifier: "send_email", payload })));
  else if (phase === "drain")
    runner = await run({
      connectionString: url, ...quiet, concurrency: 100, pollInterval: 100, noHandleSignals: true,
      taskList: { send_email: async () => {} },
      preset: { worker: { concurrentJobs: 100, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0, maxPoolSize: 10, ...quiet } },
    });
  else if (phase === "stop") await runner.stop(); // waits for the last acknowledgement
  else break;
  console.log("done");
}
await utils.release();
process.exit(0);
