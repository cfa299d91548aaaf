/** Statistics over discrete answers, pooled over samples. */

/** Shannon entropy of counts, bits. */
function entropyBits(counts: Iterable<number>, total: number): number {
  let sum = 0;
  for (const count of counts) if (count > 0) sum -= (count / total) * Math.log2(count / total);
  return sum;
}

function increase(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** Counts of answer names. */
export class AnswerCounts {
  private readonly counts_ = new Map<string, number>();
  private total_ = 0;

  add(name: string): void {
    increase(this.counts_, name);
    this.total_++;
  }

  /** Entropy over log(possible): 1 uniform, 0 always the same; null without samples or without a choice. */
  normalisedEntropy(possible: number): number | null {
    if (this.total_ === 0 || possible < 2) return null;
    return entropyBits(this.counts_.values(), this.total_) / Math.log2(possible);
  }

  /** Share of each name. */
  shares(): Record<string, number> {
    return Object.fromEntries([...this.counts_].map(([name, count]) => [name, count / this.total_]));
  }
}

/**
 * Mutual information of pairs of names, bits. The plug-in estimate is too high by about
 * (m_x - 1)(m_y - 1) / (2 N ln 2) for independent names, m the numbers of names seen and N that of pairs; pairs of one
 * sample are not independent, so the true bias is larger.
 */
export class PairCounts {
  private readonly first_ = new Map<string, number>();
  private readonly second_ = new Map<string, number>();
  private readonly both_ = new Map<string, number>();
  private total_ = 0;

  add(first: string, second: string): void {
    increase(this.first_, first);
    increase(this.second_, second);
    increase(this.both_, JSON.stringify([first, second]));
    this.total_++;
  }

  get pairs(): number {
    return this.total_;
  }

  /** Plug-in estimate H(X) + H(Y) - H(X, Y); null without pairs. */
  mutualInformationBits(): number | null {
    const total = this.total_;
    if (total === 0) return null;
    const [x, y, xy] = [this.first_, this.second_, this.both_].map((counts) => entropyBits(counts.values(), total));
    return Math.max(0, x + y - xy);
  }

  /**
   * With each entropy corrected by (m - 1) / (2 N ln 2), m the cells seen (Miller, "Note on the bias of information
   * estimates", 1955). May be negative; few cells per pair leave part of the bias.
   */
  millerMadowBits(): number | null {
    const plugIn = this.mutualInformationBits();
    if (plugIn === null) return null;
    const cells = this.first_.size + this.second_.size - this.both_.size - 1;
    return plugIn + cells / (2 * this.total_ * Math.LN2);
  }
}

/** Plug-in mutual information of (anchor answer, view answer) pairs, bits. */
export function mutualInformationBits(pairs: Iterable<readonly [string, string]>): number | null {
  const counts = new PairCounts();
  for (const [first, second] of pairs) counts.add(first, second);
  return counts.mutualInformationBits();
}

/** Entropy of names over log(possible). */
export function normalisedEntropy(names: Iterable<string>, possible: number): number | null {
  const counts = new AnswerCounts();
  for (const name of names) counts.add(name);
  return counts.normalisedEntropy(possible);
}

/** A mean that skips what could not be measured. */
export class Mean {
  private sum_ = 0;
  private count_ = 0;

  add(value: number | null): void {
    if (value === null) return;
    this.sum_ += value;
    this.count_++;
  }

  value(): number | null {
    return this.count_ === 0 ? null : this.sum_ / this.count_;
  }
}

export function mean(values: readonly (number | null)[]): number | null {
  const sum = new Mean();
  for (const value of values) sum.add(value);
  return sum.value();
}
