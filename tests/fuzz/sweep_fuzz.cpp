// Somebody's table of runs, with somebody's names of columns and conditions: an Error, or runs with positive, finite
// numbers.
//
// Input: columns, where, hold_out, filter, each up to a 0 byte, then the CSV file.
#include <cmath>

#include "core/scaling/data/read_sweep.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(sweep) {
  using namespace tsugi;
  SweepColumns columns;
  columns.columns = fuzzing::take_text(input);
  columns.where = fuzzing::take_text(input);
  columns.hold_out = fuzzing::take_text(input);
  columns.filter = fuzzing::take_text(input);
  fuzzing::refuse_or(
      [&] {
        const CsvTable csv = parse_csv(fuzzing::as_text(input), "input");
        for (const std::vector<std::string>& row : csv.rows) CHECK_EQ(row.size(), csv.header.size());
        const SweepTable table = read_sweep(csv, columns);
        CHECK(!table.runs.runs.empty());
        for (const SweepRun& run : table.runs.runs) {
          for (const double value : {run.n, run.d, run.c, run.loss, run.batch}) {
            CHECK(std::isnan(value) || (std::isfinite(value) && value > 0.0)) << run.name << ": " << value;
          }
        }
        fuzzing::refuse_or([&] { group_budgets(table.runs.runs); });
      },
      {ExitCode::kUsage, ExitCode::kData});
}
