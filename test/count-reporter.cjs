'use strict';
/**
 * Jest reporter that ends the output with one line for scripts: `Tests: N passed, N failed`, with `, N skipped` where tests were
 * skipped. A test file that could not run at all counts as one failure.
 */
const { writeSync } = require('node:fs');

class CountReporter {
  onRunComplete(_contexts, results) {
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    const line = `Tests: ${results.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`;
    // Jest prints its own summary after every reporter has finished; at exit this line is the last one.
    process.once('exit', () => writeSync(1, line));
  }
}

module.exports = CountReporter;
