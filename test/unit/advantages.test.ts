import { deviation, scoreGroups, type AggregationMode, type TermValues } from '../../src/rewards';

const term = (name: string, values: number[], weight = 0.25, floor = 1e-3): TermValues => ({ name, weight, values, floor });
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const modes: AggregationMode[] = ['per_reward', 'gdpo', 'paper_literal', 'calibrated'];
const group = [term('depth', [20, 24, 21, 29, 22]), term('pose', [0.9, 0.7, 0.95, 0.6, 0.8]), term('anchor', [0.5, 0.6, 0.4, 0.55, 0.7])];

describe('advantages', () => {
  it.each(modes)('%s: mean 0, deviation 1, unmoved by adding a constant to a reward', (aggregation) => {
    const [{ advantages, zeroVariance }] = scoreGroups({ aggregation }, [group]);
    expect(zeroVariance).toBe(false);
    expect(Math.abs(mean(advantages))).toBeLessThan(1e-12);
    expect(Math.abs(deviation(advantages) - 1)).toBeLessThan(1e-3);
    const moved = group.map((one) => ({ ...one, values: one.values.map((x) => x + 7) }));
    scoreGroups({ aggregation }, [moved])[0].advantages.forEach((a, i) => expect(a).toBeCloseTo(advantages[i], 9));
  });

  it('per_reward does not feel the scale of a reward, paper_literal does', () => {
    const scaled = [{ ...group[0], values: group[0].values.map((x) => 50 * x) }, ...group.slice(1)];
    const of = (aggregation: AggregationMode, terms: TermValues[]): number[] => scoreGroups({ aggregation }, [terms])[0].advantages;
    of('per_reward', scaled).forEach((a, i) => expect(a).toBeCloseTo(of('per_reward', group)[i], 12));
    const apart = of('paper_literal', scaled).map((a, i) => Math.abs(a - of('paper_literal', group)[i]));
    expect(Math.max(...apart)).toBeGreaterThan(1e-3);
  });

  it('are the formulas', () => {
    const two = [term('a', [1, 3], 0.5, 0), term('b', [0, 4], 0.25, 8)];
    // Deviations: a ∓1 (std 1), b ∓2/8 (floor 8 over std 2).
    const [{ total, advantages }] = scoreGroups({ aggregation: 'per_reward' }, [two]);
    expect(total).toEqual([-0.5625, 0.5625]);
    expect(advantages[1]).toBeCloseTo(0.5625 / (0.5625 + 1e-4), 14);
    const literal = scoreGroups({ aggregation: 'paper_literal' }, [two])[0];
    expect(literal.total).toEqual([0.5, 2.5]);
    expect(literal.advantages[1]).toBeCloseTo(1 / (1 + 1e-4), 14);
  });

  it('gdpo standardises over the batch: a group that agrees less with itself weighs less', () => {
    const weak = [term('a', [0, 1]), term('b', [1, 0], 0.2)];
    const strong = [term('a', [0, 1]), term('b', [0, 1], 0.2)];
    const scores = scoreGroups({ aggregation: 'gdpo' }, [weak, strong, [term('a', [2, 2])]]);
    const spread = Math.sqrt((0.05 ** 2 + 0.45 ** 2) / 2) + 1e-4;
    expect(scores[0].advantages[1]).toBeCloseTo(0.05 / spread, 10);
    expect(scores[1].advantages[1]).toBeCloseTo(0.45 / spread, 10);
    expect(scores[2]).toMatchObject({ zeroVariance: true, advantages: [0, 0] });
  });

  it.each(modes)('%s: equal rewards give 0 and are flagged, also with rounding and without floors', (aggregation) => {
    const equal = [term('depth', [3, 3, 3], 0.25, 0), term('pose', [0.1 + 0.2, 0.3, 0.3], 0.25, 0)];
    const [{ advantages, zeroVariance }] = scoreGroups({ aggregation }, [equal]);
    expect(zeroVariance).toBe(true);
    expect(advantages).toEqual([0, 0, 0]);
  });

  it.each(modes)('%s: what is no number counts as the lowest; a term without any is left out', (aggregation) => {
    const broken = [term('a', [5, NaN, 7, Infinity]), term('b', [NaN, NaN, -Infinity, NaN])];
    const [{ terms, advantages }] = scoreGroups({ aggregation }, [broken]);
    expect(terms.a).toEqual({ values: [5, NaN, 7, Infinity], used: [5, 5, 7, 5], invalid: 2 });
    expect(terms.b).toMatchObject({ used: [0, 0, 0, 0], invalid: 4 });
    expect(advantages).toEqual(scoreGroups({ aggregation }, [[term('a', [5, 5, 7, 5])]])[0].advantages);
    expect(advantages.every(Number.isFinite)).toBe(true);
  });

  it('are clamped', () => {
    const outlier = [term('a', [...new Array<number>(99).fill(0), 1])];
    const [{ advantages }] = scoreGroups({ aggregation: 'per_reward', advantageClip: 5 }, [outlier]);
    expect(Math.max(...advantages)).toBe(5);
    expect(Math.max(...scoreGroups({ aggregation: 'per_reward', advantageClip: 50 }, [outlier])[0].advantages)).toBeGreaterThan(9);
  });

  it('shuffled, come to no rollout that earned them, the same for one seed', () => {
    const values = Array.from({ length: 16 }, (_, i) => i * i);
    const plain = scoreGroups({ aggregation: 'per_reward' }, [[term('a', values)]])[0].advantages;
    const seen = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      const deal = (): number[] => scoreGroups({ aggregation: 'per_reward', shuffle: true, seed }, [[term('a', values)]])[0].advantages;
      const dealt = deal();
      expect(dealt).toEqual(deal());
      expect([...dealt].sort((a, b) => a - b)).toEqual([...plain].sort((a, b) => a - b));
      dealt.forEach((a, i) => expect(a).not.toBe(plain[i]));
      seen.add(dealt.join());
    }
    expect(seen.size).toBe(200);
  });

  it('refuse terms that do not fit', () => {
    expect(() => scoreGroups({ aggregation: 'gdpo' }, [[]])).toThrow(/group 0 has no reward/);
    expect(() => scoreGroups({ aggregation: 'gdpo' }, [[term('a', [1, 2]), term('b', [1])]])).toThrow(/'b' has 1 values, another 2/);
    expect(() => scoreGroups({ aggregation: 'gdpo' }, [[term('a', [1, 2]), term('a', [1, 2])]])).toThrow(/two rewards are called 'a'/);
  });
});
