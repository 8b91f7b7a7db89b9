// A checkpoint: a Hugging Face folder plus the state to go on from, written so that nothing can be lost.
//
// checkpoints/step-00001000/  config.json  model.safetensors (fp32 master weights)  tokenizer.json
//                             state/shard-00000-of-00002.safetensors …  state/run.json   manifest.json
// Written into step-N.partial.gK (K: this attempt's generation), fsynced, manifest (length and CRC32C of every file)
// last, then renamed. What has no valid manifest does not exist.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

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
/// (`texts`: file name → content, e.g. config.json, tokenizer.json). An existing step-N is an error, as is a newer
/// generation that began at or before this step (a second life of the job): Error(kData).
/// Disk full, permission: Error(kInputOutput) on every rank, earlier checkpoints untouched, the partial one removed.
std::string save_checkpoint(Communicator& communicator, const RunLease& lease, const RunState& state,
                            const std::vector<SavedTensor>& tensors, const std::vector<StateRange>& ranges,
                            const std::map<std::string, std::string>& texts);

/// Keeps the newest `keep` intact checkpoints (0: all), deletes older ones and leftovers of earlier attempts.
void retain_checkpoints(Communicator& communicator, const RunLease& lease, int keep);

/// The newest checkpoint of a run directory whose manifest and files are intact ("" when there is none). Damaged ones
/// are named in `damaged` with the reason, never loaded. Checkpoints of an older generation beyond a newer one's start
/// are void. Collective; rank 0 reads.
std::string find_checkpoint(Communicator& communicator, const std::string& run_directory,
                            std::vector<std::string>& damaged);

/// Verifies length and CRC32C of every file in the manifest. Throws Error(kData) naming the file.
void verify_checkpoint(const std::string& checkpoint);

/// Reads the ranges this rank asks for (masters from model.safetensors, moments from state/). The checkpoint may have
/// been written by any number of ranks. Throws Error(kData) naming file and tensor on any mismatch of name or shape.
RunState load_checkpoint(const std::string& checkpoint, const std::vector<SavedTensor>& tensors,
                         const std::vector<StateRange>& ranges);
/// Only state/run.json.
RunState load_run_state(const std::string& checkpoint);

/// Any Hugging Face folder: the fp32 values of named tensors from model.safetensors (f32, bf16 or f16 inside) into
/// the `master` of each range. Names may lack the "transformer." prefix.
void load_weights(const std::string& folder, const std::vector<SavedTensor>& tensors,
                  const std::vector<StateRange>& ranges);

}  // namespace tsugi
