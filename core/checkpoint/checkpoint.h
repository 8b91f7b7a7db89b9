// A checkpoint: a Hugging Face folder plus the state to go on from, written so that nothing can be lost.
//
// checkpoints/step-00001000/  config.json  model.safetensors (fp32 master weights)  tokenizer.json
//                             state/shard-00000-of-00002.safetensors …  state/run.json   manifest.json
// Written into step-N.partial.gK (K: this attempt's generation), fsynced, manifest (length and CRC32C of every file)
// last, then renamed. What has no valid manifest does not exist. Checksums are of the bytes as they were in memory, so
// that a write which the disk lost is found at the next reading. Files that the manifest does not list are not read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/checkpoint/staged_work.h"
#include "dist/communicator.h"

namespace tsugi {

/// A tensor of the logical tensor space, by its Hugging Face name.
struct SavedTensor {
  std::string name;
  std::vector<int64_t> shape;
};

/// Elements [offset, offset + length) of tensor `tensor` (index into the list of SavedTensor) that this rank owns: fp32
/// master weights and AdamW's moments. On loading, any rank may ask for any ranges.
struct StateRange {
  int tensor = 0;
  int64_t offset = 0;
  int64_t length = 0;
  float* master = nullptr;
  float* exp_avg = nullptr;     ///< null: not saved or loaded (frozen, or weights only)
  float* exp_avg_sq = nullptr;  ///< as exp_avg
};

/// Everything that is not a tensor.
struct RunState {
  int64_t step = 0;                          ///< optimizer steps done
  uint64_t next_sample = 0;                  ///< global index of the first sample of the next step
  bool evaluation_due = false;               ///< this step's evaluation was put off by a stop; it comes first on resume
  std::string config_text;                   ///< resolved RunConfig
  std::map<std::string, std::string> facts;  ///< library versions, device, build: for the message when bits may differ
};

/// One attempt's right to write into a run directory.
struct RunLease {
  std::string directory;   ///< the run directory
  int64_t generation = 0;  ///< 1 for the first attempt
};

/// Creates the directory and takes the next generation number (O_CREAT|O_EXCL on checkpoints/generation-K), recording
/// the step it starts from once known. Rank 0 acts, all ranks get the result or the same error.
RunLease take_lease(Communicator& communicator, const std::string& directory);
void record_start(Communicator& communicator, const RunLease& lease, int64_t start_step);

/// Writes checkpoints/step-N and returns its path. Collective. Each rank writes its ranges; rank 0 the small files
/// (`texts`: file name → content, e.g. config.json, tokenizer.json; with an adapter_config.json among them the masters
/// go into adapter_model.safetensors instead of model.safetensors). Together the ranks' ranges hold every element of
/// every tensor exactly once. An existing step-N is an error, as is a newer generation that began at or before this
/// step (a second life of the job): Error(kData). But a step-N that does not count, being void or damaged and passed
/// over when this attempt started, is renamed to step-N.void.gK: the run must be able to pass it.
/// Disk full, permission: Error(kInputOutput) on every rank, earlier checkpoints untouched, the partial one removed.
std::string save_checkpoint(Communicator& communicator, const RunLease& lease, const RunState& state,
                            const std::vector<SavedTensor>& tensors, const std::vector<StateRange>& ranges,
                            const std::map<std::string, std::string>& texts);

/// The stages of the same, for writing beside training; returns the path that there will be. The values that `ranges`
/// points to must stay as they are until `work` has ended.
std::string add_saving(StagedWork& work, const Communicator& communicator, const RunLease& lease, RunState state,
                       std::vector<SavedTensor> tensors, std::vector<StateRange> ranges,
                       std::map<std::string, std::string> texts);

/// Keeps the newest `keep` intact checkpoints (0: all), deletes older ones and leftovers of earlier attempts.
/// Collective; the ranks read those to keep in full, each its part of the files, and nothing is deleted before `keep`
/// of them proved intact. Links are left alone. Does nothing when a newer attempt exists: the run is its own now.
void retain_checkpoints(Communicator& communicator, const RunLease& lease, int keep);
/// The stages of the same.
void add_retention(StagedWork& work, const Communicator& communicator, const RunLease& lease, int keep);

/// The newest checkpoint of a run directory whose manifest and files are intact ("" when there is none). Damaged ones
/// are named in `damaged` with the reason, never loaded. Checkpoints of an older generation beyond a newer one's start
/// are void, and named too. Collective; every rank verifies its part of the files.
std::string find_checkpoint(Communicator& communicator, const std::string& run_directory,
                            std::vector<std::string>& damaged);

/// Verifies length and CRC32C of every file in the manifest. Throws Error(kData) naming the file.
void verify_checkpoint(const std::string& checkpoint);

/// Reads the ranges this rank asks for (masters from model.safetensors, moments from state/). The checkpoint may have
/// been written by any number of ranks. Throws Error(kData) naming file and tensor on any mismatch of name or shape,
/// and tensor and range when moments that are asked for were not saved. Does not compare checksums: find_checkpoint()
/// and verify_checkpoint() do. Not collective: one rank may fail alone (see together.h).
RunState load_checkpoint(const std::string& checkpoint, const std::vector<SavedTensor>& tensors,
                         const std::vector<StateRange>& ranges);
/// Only state/run.json.
RunState load_run_state(const std::string& checkpoint);

/// Any Hugging Face folder: the fp32 values of named tensors from model.safetensors (f32, bf16 or f16 inside), or from
/// the files that model.safetensors.index.json names, into the `master` of each range. Names may lack the
/// "transformer." prefix; further tensors are not read. Throws Error(kData) naming file and tensor: missing, another
/// shape, not finite.
void load_weights(const std::string& folder, const std::vector<SavedTensor>& tensors,
                  const std::vector<StateRange>& ranges);

}  // namespace tsugi
