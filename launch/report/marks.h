// What the plots of a report share: their axes, and what a run's mark says on hovering.
#pragma once

#include <string>

#include "launch/report/svg.h"
#include "launch/report/sweep_report.h"

namespace tsugi {

inline const Axis kParameterAxis{"parameters N", true, TickText::kCount};
inline const Axis kTokenAxis{"training tokens D", true, TickText::kCount};
inline const Axis kComputeAxis{"training compute C (FLOP)", true, TickText::kScientific};

/// 0.0123 as "+1.23 %".
std::string signed_percent(double value);

/// Name, N, D, C and loss.
std::string run_title(const SweepRun& run);
/// The same with a prediction of the loss and its error.
std::string run_title(const SweepRun& run, double predicted);

/// Runs of one size (within 1 %), ascending in N, and in D within a size.
std::vector<std::vector<SweepRun>> runs_by_size(const std::vector<SweepRun>& runs);

}  // namespace tsugi
