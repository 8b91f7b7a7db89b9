// What a run trains on: one source or a mixture, in windows or in packed rows; sample k is a pure function of
// (seed, k).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/data/batch.h"
#include "core/data/mixture.h"
#include "core/data/packing.h"
#include "core/data/sampler.h"
#include "core/data/token_file.h"

namespace tsugi {

struct TrainingSource {
  TokenFile file;
  double weight = 1.0;
};

enum class Packing {
  kContinuous,      ///< windows of the token space
  kBestFit,         ///< rows of documents, and of pieces of those that are longer than a row
  kWholeDocuments,  ///< rows of documents, none of which may be longer than a row
};

/// What to learn from, and how rows are made of it.
struct LanguageData {
  std::vector<TrainingSource> train;
  std::optional<TokenFile> validation;  ///< always in consecutive windows
  Packing packing = Packing::kContinuous;
  Documents documents = Documents::kJoined;  ///< of training and validation
};

/// Throws Error(kData) when the file does not know its documents.
void require_documents(const TokenFile& file);

class TrainingData {
 public:
  /// Throws Error(kData) when a source has too few tokens, a document that `packing` refuses, or does not know the
  /// documents that `documents` or `packing` need; Error(kUsage) when the weights cannot be met.
  TrainingData(std::vector<TrainingSource> sources, Packing packing, Documents documents, int64_t vocabulary,
               int64_t sequence, uint64_t seed);

  /// Samples [first_sample, first_sample + rows). Throws Error(kData) naming file, offset and id when an id is not
  /// below the vocabulary.
  Batch batch(uint64_t first_sample, int64_t rows) const;

  /// Names and contents of all sources, and what else decides about the samples.
  std::map<std::string, std::string> fingerprint() const;

  /// One source of the mixture.
  struct Share {
    std::string path;
    double part = 1.0;  ///< of the samples
    int64_t tokens = 0;
    int64_t epoch_samples = 0;  ///< of its own
    double fullness = 1.0;      ///< the part of the places in its rows that hold tokens
    int64_t taken = 0;          ///< of the first `samples` samples of the run
  };
  std::vector<Share> shares(int64_t samples = 0) const;

 private:
  struct Source {
    TokenFile file;
    uint64_t seed;
    std::optional<Sampler> windows;
    std::optional<PackedRows> rows;
  };

  std::vector<Source> sources_;
  Mixture mixture_;
  Documents documents_;
  int64_t vocabulary_;
  int64_t sequence_;
};

}  // namespace tsugi
