#include "core/scaling/data/run_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

#include "core/scaling/flops.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct Field {
  const char* name;
  double SweepRun::* value;
  unsigned input;    // 0 where the scale is free
  double smallest;   // of the column's maximum, below which the unit must be another one
  const char* hint;  // the way out
};
constexpr Field kFields[] = {
    {"n", &SweepRun::n, kInputN, 500.0, "n=COLUMN*1e9 if it counts billions, n=COLUMN*1e6 if millions"},
    {"d", &SweepRun::d, kInputD, 20000.0, "d=COLUMN*1e9 if it counts billions of tokens"},
    {"c", &SweepRun::c, kInputC, 1e7, "c=COLUMN*8.64e19 if it counts PF-days, c=COLUMN*1e18 if exaFLOPs"},
    {"unique", &SweepRun::unique, kInputUnique, 20000.0, "unique=COLUMN*1e9 if it counts billions of tokens"},
    {"steps", &SweepRun::steps, kInputSteps, 0.0, ""},
    {"batch", &SweepRun::batch, kInputBatch, 0.0, ""},
    {"lr", &SweepRun::learning_rate, 0, 0.0, ""},
    {"loss", &SweepRun::loss, 0, 0.0, ""},
};

std::string number(double value) {
  std::ostringstream text;
  text.precision(4);
  text << value;
  return text.str();
}

/// What can be fitted, and yet is hardly what was meant.
void note_odd_scales(RunTable& table) {
  double smallest_loss = HUGE_VAL;
  std::vector<double> ratios;
  for (const SweepRun& run : table.runs) {
    if (!std::isnan(run.loss)) smallest_loss = std::min(smallest_loss, run.loss);
    if (!std::isnan(run.d / run.n)) ratios.push_back(run.d / run.n);
  }
  // Guessing among a million tokens has 13.8 nats.
  constexpr double kNoLoss = 14.0;
  if (smallest_loss > kNoLoss && std::isfinite(smallest_loss)) {
    table.notes.push_back("the lowest loss is " + number(smallest_loss) +
                          ": no cross-entropy per token is that high; is it a perplexity? These laws are of its "
                          "logarithm");
  }
  if (ratios.empty()) return;
  std::nth_element(ratios.begin(), ratios.begin() + static_cast<int64_t>(ratios.size() / 2), ratios.end());
  const double median = ratios[ratios.size() / 2];
  if (median < 0.5) {
    table.notes.push_back("d/n is " + number(median) +
                          " in the median run: are n and d the other way round, or in different units?");
  }
}

}  // namespace

RunPoint SweepRun::point() const {
  return {std::log(n), std::log(d), std::log(c), std::log(unique), std::log(steps), std::log(batch), std::log(loss)};
}

unsigned RunTable::inputs() const {
  unsigned present = 0;
  for (const Field& field : kFields) {
    const bool all =
        std::all_of(runs.begin(), runs.end(), [&](const SweepRun& r) { return !std::isnan(r.*field.value); });
    if (all) present |= field.input;
  }
  return present;
}

void complete_flops(RunTable& table) {
  int64_t completed_n = 0, completed_d = 0, completed_c = 0;
  for (SweepRun& run : table.runs) {
    if (std::isnan(run.c) && !std::isnan(run.n) && !std::isnan(run.d)) {
      run.c = training_flops(run.n, run.d);
      ++completed_c;
    } else if (std::isnan(run.d) && !std::isnan(run.n) && !std::isnan(run.c)) {
      run.d = tokens_for_flops(run.c, run.n);
      ++completed_d;
    } else if (std::isnan(run.n) && !std::isnan(run.d) && !std::isnan(run.c)) {
      run.n = parameters_for_flops(run.c, run.d);
      ++completed_n;
    }
  }
  if (completed_n > 0) table.notes.emplace_back("n is not in the table: n = c/(6 d)");
  if (completed_d > 0) table.notes.emplace_back("d is not in the table: d = c/(6 n)");
  if (completed_c > 0) table.notes.emplace_back("c is not in the table: c = 6 n d");
}

void check_units(RunTable& table, unsigned units_meant) {
  if (table.runs.empty()) throw Error(ExitCode::kData, table.origin + ": there are no runs to fit");
  for (const Field& field : kFields) {
    double smallest = HUGE_VAL, largest = 0.0;
    for (const SweepRun& run : table.runs) {
      const double value = run.*field.value;
      if (std::isnan(value)) continue;
      if (!std::isfinite(value) || value <= 0.0) {
        throw Error(ExitCode::kData,
                    table.origin + ": " + run.name + ": " + field.name + " is " + number(value) +
                        ", but only positive numbers can be fitted",
                    std::string("leave such runs out: --where \"") + field.name + " > 0\"");
      }
      smallest = std::min(smallest, value);
      largest = std::max(largest, value);
    }
    if (largest == 0.0 || field.input == 0 || (units_meant & field.input) != 0) continue;
    if (largest < field.smallest) {
      throw Error(ExitCode::kData,
                  table.origin + ": " + field.name + " goes from " + number(smallest) + " to " + number(largest) +
                      ": too small for a plain count",
                  std::string("give the unit: ") + field.hint + "; " + field.name + "=COLUMN*1 takes it as it is");
    }
    // Real sweeps have gaps of a few orders at most; a jump of five is 7 (billion) beside 7e9.
    std::vector<double> logs;
    for (const SweepRun& run : table.runs) {
      if (!std::isnan(run.*field.value)) logs.push_back(std::log10(run.*field.value));
    }
    std::sort(logs.begin(), logs.end());
    for (size_t i = 1; i < logs.size(); ++i) {
      if (logs[i] - logs[i - 1] >= 3.0 && logs[i] - logs[i - 1] < 5.0) {
        table.notes.push_back(std::string(field.name) + " jumps from " + number(std::pow(10.0, logs[i - 1])) + " to " +
                              number(std::pow(10.0, logs[i])) + ": do some rows count in another unit?");
      }
      if (logs[i] - logs[i - 1] < 5.0) continue;
      throw Error(ExitCode::kData,
                  table.origin + ": " + field.name + " jumps from " + number(std::pow(10.0, logs[i - 1])) + " to " +
                      number(std::pow(10.0, logs[i])) + ": the column seems to mix units",
                  "write all rows in one unit, or choose rows with --where");
    }
  }
  note_odd_scales(table);
  // C against 6 N D: attention and embeddings explain a factor of two or three, not a thousand.
  std::vector<double> ratios;
  for (const SweepRun& run : table.runs) {
    const double ratio = run.c / training_flops(run.n, run.d);
    if (!std::isnan(ratio)) ratios.push_back(std::log(ratio));
  }
  if (!ratios.empty()) {
    std::nth_element(ratios.begin(), ratios.begin() + ratios.size() / 2, ratios.end());
    const double median = std::exp(ratios[ratios.size() / 2]);
    if ((median > 100.0 || median < 0.01) && (units_meant & (kInputN | kInputD | kInputC)) == 0) {
      throw Error(ExitCode::kData,
                  table.origin + ": c is " + number(median) + " times 6 n d in the median run: the columns are in " +
                      "different units",
                  "give the unit of the odd one: n=COLUMN*1e9, d=COLUMN*1e9 or c=COLUMN*8.64e19; COLUMN*1 takes a "
                  "column as it is");
    }
    if (median > 3.0 || median < 1.0 / 3.0) {
      table.notes.push_back("c is " + number(median) +
                            " times 6 n d in the median run: is n without the embeddings, "
                            "or c counted another way?");
    }
  }
}

std::vector<SweepRun> fitted_runs(const RunTable& table) {
  std::vector<SweepRun> result;
  std::copy_if(table.runs.begin(), table.runs.end(), std::back_inserter(result),
               [](const SweepRun& run) { return !run.held_out; });
  return result;
}

std::vector<SweepRun> held_out_runs(const RunTable& table) {
  std::vector<SweepRun> result;
  std::copy_if(table.runs.begin(), table.runs.end(), std::back_inserter(result),
               [](const SweepRun& run) { return run.held_out; });
  return result;
}

std::vector<Budget> group_budgets(std::span<const SweepRun> runs) {
  constexpr double kGap = 1.15, kSpan = 1.35;
  std::vector<size_t> order(runs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return runs[a].c < runs[b].c; });
  std::vector<Budget> budgets;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || runs[order[i]].c > kGap * runs[order[i - 1]].c) budgets.emplace_back();
    budgets.back().runs.push_back(order[i]);
  }
  for (Budget& budget : budgets) {
    const double low = runs[budget.runs.front()].c, high = runs[budget.runs.back()].c;
    if (high > kSpan * low) {
      throw Error(ExitCode::kData,
                  "the runs do not lie on compute budgets: from " + number(low) + " to " + number(high) +
                      " FLOPs no gap is wider than 15 %",
                  "isoFLOP fits need runs at a few fixed budgets; name the column of the intended budget as "
                  "c=COLUMN, or use --form chinchilla, which needs none");
    }
    double sum = 0.0;
    for (const size_t run : budget.runs) sum += std::log(runs[run].c);
    budget.c = std::exp(sum / static_cast<double>(budget.runs.size()));
    std::stable_sort(budget.runs.begin(), budget.runs.end(), [&](size_t a, size_t b) { return runs[a].n < runs[b].n; });
  }
  return budgets;
}

}  // namespace tsugi
