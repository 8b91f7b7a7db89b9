// RUN/checkpoints: names, attempts ("generations"), and which checkpoints count.
//
//   step-00001000                a checkpoint
//   step-00001000.partial.g3     being written by attempt 3, or left by it
//   step-00001000.void.g3        put aside by attempt 3: an older attempt's that it had overtaken, or one to be deleted
//   generation-3                 attempt 3 has begun: {"crc32c": …, "start_step": 500}; empty until it knows its start
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/manifest.h"

namespace tsugi {

/// RUN/checkpoints
std::string checkpoints_folder(const std::string& run_directory);
/// "step-00001000": at least eight digits.
std::string checkpoint_name(int64_t step);
std::string partial_name(int64_t step, int64_t generation);
std::string void_name(int64_t step, int64_t generation);

/// What a name in the folder is.
struct EntryName {
  enum class Kind { kCheckpoint, kPartial, kVoid, kGeneration, kOther } kind = Kind::kOther;
  int64_t step = 0;
  int64_t generation = 0;
};
EntryName parse_entry_name(const std::string& name);

/// An attempt; `start_step` is the step it went on from.
struct Generation {
  int64_t number = 0;
  std::optional<int64_t> start_step;
};

/// Content of a generation file once the start is known.
std::string generation_text(const Generation& generation);

/// A checkpoint that counts, as far as its manifest tells.
struct Candidate {
  int64_t step = 0;
  std::string path;
  Manifest manifest;
};

/// What lies in RUN/checkpoints. A folder that does not exist holds nothing.
struct Survey {
  std::vector<Generation> generations;  ///< ascending
  std::vector<int64_t> steps;           ///< of all folders named like a checkpoint, whether they count or not
  std::vector<Candidate> candidates;    ///< those that count, newest first
  std::vector<EntryName> leftovers;     ///< partial and void folders
  std::vector<std::string> damaged;     ///< what does not count, "PATH: reason"
  int64_t last_generation = 0;          ///< the highest number seen anywhere

  const Generation* find(int64_t number) const;
};
Survey survey_run(const std::string& run_directory);

/// Whether a checkpoint of `step` by attempt `generation` is void: a later attempt began before it, so that it belongs
/// to a life that was not continued. Returns that attempt, or null.
const Generation* overtaken_by(const std::vector<Generation>& generations, int64_t step, int64_t generation);

}  // namespace tsugi
