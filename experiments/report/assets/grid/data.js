// The runs of the page, and what is computed from them.

const { configurations, comparisons, runs, grids, metrics } = content;

// A configuration knows its runs; a run is an index into the columns of `runs`, and into the points.
const offsets = [];
{
  let offset = 0;
  configurations.forEach((configuration, i) => { configuration.index = i; configuration.runs = []; });
  runs.seed.forEach((seed, run) => {
    configurations[runs.configuration[run]].runs.push(run);
    offsets.push(offset);
    offset += grids[runs.grid[run]].length;
  });
}
for (const comparison of comparisons) {
  // Of what all its configurations have in common, any of them tells.
  comparison.own = configurations[Object.values(comparison.at)[0]];
}

const decoded = {};
/** The points of a run: values in the metric's own unit (log10 where it is logarithmic), or NaN. */
function pointsOf(run, name) {
  const metric = metrics[name];
  if (!(name in decoded)) {
    const text = atob(metric.codes);
    const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    decoded[name] = new DataView(bytes.buffer);
  }
  const unit = (metric.high - metric.low) / 65534;
  return grids[runs.grid[run]].map((step, i) => {
    const code = decoded[name].getUint16(2 * (offsets[run] + i), true);
    return code === 65535 ? NaN : metric.low + code * unit;
  });
}

/** Mean and sample deviation of the finite values. */
function statistics(values) {
  const finite = values.filter((value) => value !== null && Number.isFinite(value));
  const count = finite.length;
  if (!count) return { count, mean: NaN, deviation: NaN };
  const mean = finite.reduce((sum, value) => sum + value, 0) / count;
  const squares = finite.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { count, mean, deviation: count > 1 ? Math.sqrt(squares / (count - 1)) : NaN };
}

/** Mean curve over the seeds of a configuration, with its band of one deviation. */
function bandOf(configuration, name) {
  const undo = metrics[name].logarithmic ? (value) => 10 ** value : (value) => value;
  const longest = configuration.runs.reduce(
    (best, run) => (grids[runs.grid[run]].length > best.length ? grids[runs.grid[run]] : best), []);
  const curves = configuration.runs.map((run) => pointsOf(run, name));
  const band = { x: longest, mean: [], low: [], high: [], count: [] };
  longest.forEach((step, i) => {
    const { count, mean, deviation } = statistics(curves.map((curve) => curve[i] ?? NaN));
    const spread = Number.isFinite(deviation) ? deviation : 0;
    band.mean.push(count ? undo(mean) : null);
    band.low.push(count ? undo(mean - spread) : null);
    band.high.push(count ? undo(mean + spread) : null);
    band.count.push(count);
  });
  return band;
}

const divergedOf = (configuration) => configuration.runs.filter((run) => runs.diverged[run] !== null);
const accuracyOf = (configuration) =>
  statistics(configuration.runs.map((run) => runs.highest_accuracy[run]));
const bySeed = (index) =>
  new Map((index === undefined || index === null ? [] : configurations[index].runs)
    .map((run) => [runs.seed[run], runs.highest_accuracy[run]]));

/** Of each seed that all three have: unattacked, and attacked with momentum at update and worker. */
function pairsOf(comparison, needsReference) {
  const update = bySeed(comparison.at.update), worker = bySeed(comparison.at.worker);
  const reference = bySeed(comparison.reference);
  return [...update.keys()]
    .filter((seed) => worker.has(seed) && (!needsReference || reference.has(seed)))
    .map((seed) => ({
      reference: reference.get(seed), gain: worker.get(seed) - update.get(seed), update: update.get(seed),
    }));
}
