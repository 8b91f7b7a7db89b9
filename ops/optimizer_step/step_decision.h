// What the numbers of a step come to (no includes: kernels know it too).
#pragma once

namespace tsugi {

/// All of them are what all ranks have, and flags are 0 or 1.
struct StepDecision {
  double loss = 0.0;            ///< mean over the targets
  double targets = 0.0;         ///< how many they are
  double gradient_norm = 0.0;   ///< of that mean loss, before clipping
  double gradient_scale = 1.0;  ///< what the summed gradient is multiplied by: 1 / targets, and clipping
  double finite = 1.0;          ///< loss and norm are; otherwise nothing is to be updated
  double stop = 0.0;            ///< some rank says so
  double ready = 1.0;           ///< all ranks say so
};

}  // namespace tsugi
