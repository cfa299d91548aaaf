/** Bench `train-update`: one whole update of the demo's training, from scenes to the optimiser's step, in rollouts/s. */
import { performance } from 'node:perf_hooks';
import { ConfigError } from '../../binding/errors';
import type { TrainSettings } from '../../config/train';
import { createLora } from '../../models/lora';
import type { Lora } from '../../models/lora';
import type { BenchCase } from '../../report/bench-report';
import { buildRewards, disposeRewards } from '../../rewards';
import type { RewardTerm } from '../../rewards';
import type { MatmulPrecision } from '../../tensor/device';
import { AdamW, Ema } from '../../tensor/optim';
import { demoRun } from '../demo/runs';
import { loadEditor } from '../model';
import { Judge } from '../train/judge';
import { Policy } from '../train/policy';
import { runUpdate } from '../train/run';
import type { Run } from '../train/run';
import { openSource } from '../train/source';
import type { Bench, BenchContext } from './cases';
import { quantiles, timesOf } from './measure';

/** What an update goes through, in its order, group by group; `rest` is bookkeeping between the others. */
const phases = ['scenes', 'conditions', 'rollouts', 'decode', 'verifier', 'rest', 'update'] as const;
type Phase = (typeof phases)[number];

/** An update takes seconds: it warms up by itself. */
const repeats = { warmUps: 1, fewest: 2 };

/** Milliseconds by phase: whatever runs belongs to the phase entered last. */
class PhaseClock {
  readonly ms = new Map<Phase, number>();
  private current: Phase = 'rest';
  private since = performance.now();

  enter(phase: Phase): void {
    const now = performance.now();
    this.ms.set(this.current, (this.ms.get(this.current) ?? 0) + now - this.since);
    [this.current, this.since] = [phase, now];
  }

  /** Milliseconds since the last call, by phase. */
  take(): Map<Phase, number> {
    this.enter('rest');
    const taken = new Map(this.ms);
    this.ms.clear();
    return taken;
  }
}

/** Untrained networks may judge all rollouts alike, and a group without variance is not scored: so that all are. */
const order: RewardTerm = {
  name: 'order',
  weight: 1,
  floor: () => 0,
  score: ({ rollouts }) => rollouts.map((_, i) => i),
};

/** Settings of the demo's anchor-guided training. */
export function updateSettings(model: string, seed: number): TrainSettings {
  return demoRun({ out: 'unused', model, updates: 1, anchorGuided: true, device: 'auto', threads: 0, seed });
}

/** Puts the clock at the borders of the phases of `runUpdate`. */
function watch({ policy, judge, source }: Run, clock: PhaseClock): void {
  const [sample, condition, decode, judged] = [
    source.sample.bind(source),
    policy.condition.bind(policy),
    policy.decode.bind(policy),
    judge.judge.bind(judge),
  ];
  const during = async <T>(phase: Phase, next: Phase, work: () => Promise<T>): Promise<T> => {
    clock.enter(phase);
    const result = await work();
    clock.enter(next);
    return result;
  };
  source.sample = (...of) => during('scenes', 'rest', () => sample(...of));
  policy.condition = (...of) => during('conditions', 'rollouts', () => condition(...of));
  policy.decode = (...of) => during('decode', 'rest', () => decode(...of));
  judge.judge = (...of) => during('verifier', 'rest', () => judged(...of));
}

async function measured(
  context: BenchContext,
  run: Run,
  products: MatmulPrecision,
  clock: PhaseClock,
): Promise<BenchCase> {
  const { device, dtype, settings, signal } = context;
  const { group, groupsPerUpdate, steps, window } = run.settings;
  const samples: { total: number; parts: Map<Phase, number> }[] = [];
  device.matmulPrecision = products;
  const sample = async (): Promise<number> => {
    clock.take();
    const begun = performance.now();
    await runUpdate(run, samples.length, (_, index) => clock.enter(index + 1 === groupsPerUpdate ? 'update' : 'rest'));
    const total = performance.now() - begun;
    samples.push({ total, parts: clock.take() });
    return total;
  };
  const times = await timesOf(sample, settings.seconds, signal, repeats);
  const ms = quantiles(times);
  // The parts of one update, the median one, so that they add up.
  const { parts } = samples.find(({ total }) => total === ms.p50)!;
  const part = (...names: Phase[]): number => names.reduce((sum, name) => sum + (parts.get(name) ?? 0), 0);
  const rollouts = group * groupsPerUpdate;
  return {
    name: `train-update, ${products} products`,
    dtype,
    shape: `${groupsPerUpdate} groups of ${group}, ${steps} steps, ${window.size} trained`,
    ms,
    samples: times.length,
    figures: {
      'rollouts/s': (1000 * rollouts) / ms.p50,
      'rollouts/s of the transformer alone': (1000 * rollouts) / part('rollouts', 'update'),
    },
    parts: Object.fromEntries(phases.map((phase) => [phase, part(phase)])),
  };
}

/** Times updates of a training on procedural scenes. */
export async function updateCases(context: BenchContext, settings: TrainSettings): Promise<BenchCase[]> {
  const { device, dtype, signal } = context;
  using editor = await loadEditor(settings.model, device, { dtype, seed: settings.seed, signal });
  const verifier = await editor.verifier();
  if (!verifier || editor.settings.view_size === undefined) {
    throw new ConfigError(`train-update: ${editor.name} must have a verifier and a view size of its own, as tiny has`);
  }
  const policy = await Policy.open(editor, {});
  const terms = await buildRewards(settings.rewards, signal);
  let lora: Lora | undefined;
  let optimizer: AdamW | undefined;
  let ema: Ema | undefined;
  try {
    lora = createLora(device, policy.model.weights.registered(), { ...settings.adapter, seed: settings.seed }).train();
    const parameters = lora.parameters();
    optimizer = new AdamW(parameters, settings.optimizer);
    ema = new Ema(parameters, settings.ema.decay);
    const trained = { device, lora, optimizer, ema };
    const source = await openSource(settings, policy, lora, signal);
    const judge = new Judge(verifier, settings);
    const run: Run = { settings, policy, trained, judge, terms: [...terms, order], source, signal };
    const clock = new PhaseClock();
    watch(run, clock);
    const cases: BenchCase[] = [];
    // bf16 networks have one precision; f32 networks may round the operands of their products.
    for (const products of dtype === 'bf16' ? (['bf16'] as const) : (['f32', 'bf16'] as const)) {
      cases.push(await measured(context, run, products, clock));
    }
    return cases;
  } finally {
    device.matmulPrecision = 'f32';
    for (const owned of [ema, optimizer, lora]) owned?.dispose();
    await disposeRewards(terms);
  }
}

export const trainUpdateBench: Bench = {
  name: 'train-update',
  describe: "one update of the demo's training with --model",
  run: (context) => updateCases(context, updateSettings(context.settings.model, context.settings.seed)),
};
