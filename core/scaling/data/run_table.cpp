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

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
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
  const double median = median_of(std::move(ratios));
  if (median < 0.5) {
    table.notes.push_back("d/n is " + number(median) +
                          " in the median run: are n and d the other way round, or in different units?");
  }
}

/// "line 3, line 7 and 4 more"
std::string names_of(const std::vector<const SweepRun*>& runs) {
  constexpr size_t kMost = 6;
  std::string text;
  for (size_t i = 0; i < std::min(runs.size(), kMost); ++i) text += (i == 0 ? "" : ", ") + runs[i]->name;
  if (runs.size() > kMost) text += " and " + std::to_string(runs.size() - kMost) + " more";
  return text;
}

/// The thousands, millions … that are nearest to 10^orders, with what rows say that count them: "millions (1e6)".
std::string unit_text(double orders) {
  const int unit = 3 * static_cast<int>(std::lround(std::abs(orders) / 3.0));
  const char* names[] = {"", "thousands (1e3)", "millions (1e6)", "billions (1e9)", "trillions (1e12)"};
  return unit >= 3 && unit <= 12 ? names[unit / 3] : "another unit";
}

/// log10 of tokens per parameter, from whichever two of n, d and c a row has.
double log_tokens_per_parameter(const SweepRun& run) {
  if (!std::isnan(run.n) && !std::isnan(run.d)) return std::log10(run.d / run.n);
  if (!std::isnan(run.n)) return std::log10(tokens_for_flops(run.c, run.n) / run.n);
  return std::log10(run.d / parameters_for_flops(run.c, run.d));
}

/// A column that jumps: rows on either side count in different units where their tokens per parameter say so, too, or
/// where no sweep jumps so far.
void check_jumps(RunTable& table, const Field& field) {
  const double noted = field.input == kInputC ? 5.0 : 3.0, refused = field.input == kInputC ? 8.0 : 5.0;
  constexpr double kRatios = 2.5;
  std::vector<const SweepRun*> order;
  for (const SweepRun& run : table.runs) {
    if (!std::isnan(run.*field.value)) order.push_back(&run);
  }
  std::ranges::stable_sort(order, {}, [&](const SweepRun* run) { return run->*field.value; });
  for (size_t i = 1; i < order.size(); ++i) {
    const double low = order[i - 1]->*field.value, high = order[i]->*field.value, jump = std::log10(high / low);
    if (jump < noted) continue;
    std::vector<const SweepRun*> odd(order.begin(), order.begin() + static_cast<int64_t>(i));
    std::vector<const SweepRun*> others(order.begin() + static_cast<int64_t>(i), order.end());
    const auto middle = [](const std::vector<const SweepRun*>& runs) {
      std::vector<double> ratios;
      for (const SweepRun* run : runs) {
        if (const double ratio = log_tokens_per_parameter(*run); std::isfinite(ratio)) ratios.push_back(ratio);
      }
      return ratios.empty() ? RunPoint::kUnknown : median_of(std::move(ratios));
    };
    const double apart = std::abs(middle(odd) - middle(others));  // NaN: not known
    if (odd.size() > others.size()) std::swap(odd, others);
    const std::string what = std::string(field.name) + " jumps from " + number(low) + " to " + number(high);
    const std::string rows =
        std::to_string(odd.size()) + " of " + std::to_string(order.size()) + " rows (" + names_of(odd) + ")";
    const std::string way_out = std::string("write all rows in one unit, or choose rows with --where \"") + field.name +
                                " > " + number(std::sqrt(low * high)) + "\"; " + field.name +
                                "=COLUMN*1 takes the column as it is";
    if (jump >= refused || apart >= kRatios) {
      std::string why;
      if (apart >= kRatios)
        why = ", and their tokens per parameter lie a factor of " + number(std::pow(10.0, apart)) + " apart";
      throw Error(ExitCode::kData,
                  table.origin + ": " + what + why + ": " + rows + " seem to count in another unit than the rest" +
                      (std::abs(jump - apart) < 2.0 ? ", " + unit_text(apart) : ""),
                  way_out);
    }
    table.warnings.push_back(what + ": do " + rows + " count in another unit? If so, " + way_out);
  }
}

/// C against 6 N D where a row gives all three: conventions differ by a factor that is nearly the same in all rows.
void check_flops_row_by_row(const RunTable& table) {
  constexpr double kOdd = 2.0;
  std::vector<double> ratios;
  for (const SweepRun& run : table.runs) {
    const double ratio = std::log10(run.c / training_flops(run.n, run.d));
    if (std::isfinite(ratio)) ratios.push_back(ratio);
  }
  if (ratios.empty()) return;
  const double median = median_of(ratios);
  std::vector<const SweepRun*> odd;
  std::vector<double> apart;
  for (const SweepRun& run : table.runs) {
    const double ratio = std::log10(run.c / training_flops(run.n, run.d));
    if (!std::isfinite(ratio) || std::abs(ratio - median) < kOdd) continue;
    odd.push_back(&run);
    apart.push_back(ratio - median);
  }
  if (odd.empty()) return;
  const double typical = median_of(std::move(apart));
  throw Error(ExitCode::kData,
              table.origin + ": c is " + number(std::pow(10.0, median)) + " times 6 n d in most rows, but " +
                  number(std::pow(10.0, median + typical)) + " times in " + std::to_string(odd.size()) + " of " +
                  std::to_string(ratios.size()) + " (" + names_of(odd) +
                  "): one of their n, d and c is in another unit, " + unit_text(typical),
              "write all rows in one unit, or leave these out with --where");
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
  }
  note_odd_scales(table);
  // C against 6 N D: attention and embeddings explain a factor of two or three, not a thousand.
  std::vector<double> ratios;
  for (const SweepRun& run : table.runs) {
    const double ratio = run.c / training_flops(run.n, run.d);
    if (!std::isnan(ratio)) ratios.push_back(std::log(ratio));
  }
  if (!ratios.empty()) {
    const double median = std::exp(median_of(std::move(ratios)));
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

void check_mixed_units(RunTable& table, unsigned units_meant) {
  for (const Field& field : kFields) {
    if (field.input != 0 && (units_meant & field.input) == 0) check_jumps(table, field);
  }
  if ((units_meant & (kInputN | kInputD | kInputC)) == 0) check_flops_row_by_row(table);
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
