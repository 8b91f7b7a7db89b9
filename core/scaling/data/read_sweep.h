// From a CSV file of anybody's sweep to a RunTable.
#pragma once

#include <string>

#include "core/data/csv.h"
#include "core/scaling/data/run_table.h"

namespace tsugi {

/// What to change where every run of a sweep diverged.
inline constexpr char kAgainstDivergence[] =
    "lower the learning rate (learning_rate.value of a sweep file) by 3 to 10 times, lengthen the warm-up "
    "(warmup_fraction), or clip gradients (optimizer.clip_norm)";

struct SweepColumns {
  /// ROLE=COLUMN pairs separated by commas, quoted like CSV: "n=Model Size,c=Training FLOP,loss=loss". Roles: n d c
  /// loss unique steps batch lr (numbers) and name, run (texts; rows of one run are evaluations of it and are resampled
  /// together). COLUMN*1e9 multiplies: a column in billions. Empty: columns named exactly like the roles.
  std::string columns;
  /// Rows that are read; others are as if they were not in the file.
  std::string where;
  /// Rows that are predicted and never fitted.
  std::string hold_out;
  /// Rows that are fitted; others take part in the "unfiltered" figures only.
  std::string filter;
};

/// Reads, chooses rows, completes c = 6 n d, checks units. Conditions may use the roles, any column by its name, and
/// `ratio` (d/n). Throws Error(kUsage) for columns and conditions, Error(kData) with the line for values: missing, not
/// a number, not finite, not positive; and for a table in which the column status says that every run diverged.
struct SweepTable {
  RunTable runs;  ///< filtered rows, held-out rows marked
  std::vector<SweepRun> filtered_out;
};
SweepTable read_sweep(const CsvTable& csv, const SweepColumns& columns);

}  // namespace tsugi
