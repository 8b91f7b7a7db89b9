#include "core/data/training_data.h"

#include <sstream>

#include "ops/base/error.h"
#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

constexpr uint32_t kSourceSite = 0x534B0000;

std::vector<double> weights_of(const std::vector<TrainingSource>& sources) {
  std::vector<double> weights;
  for (const TrainingSource& source : sources) weights.push_back(source.weight);
  return weights;
}

/// A single source keeps the seed of the run.
uint64_t seed_of(size_t source, uint64_t seed) {
  if (source == 0) return seed;
  const Philox4 words = RandomStream{seed, source, kSourceSite}.block(0);
  return uint64_t{words[0]} << 32 | words[1];
}

void require_fitting_documents(const TokenFile& file, int64_t sequence) {
  const std::span<const int64_t> starts = file.documents();
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t length = (i + 1 < starts.size() ? starts[i + 1] : file.tokens()) - starts[i];
    if (length <= sequence) continue;
    throw Error(ExitCode::kData,
                file.path() + ": document " + std::to_string(i) + " (from 0) has " + std::to_string(length) +
                    " tokens, but rows of whole documents have " + std::to_string(sequence) +
                    " (data.packing, batch.sequence)",
                "data.packing BEST_FIT cuts what is longer");
  }
}

}  // namespace

void require_documents(const TokenFile& file) {
  if (!file.documents().empty()) return;
  throw Error(ExitCode::kData, file.path() + ": does not know its documents (data.documents, data.packing)",
              "token files of `tsugi prepare` and Megatron's do");
}

TrainingData::TrainingData(std::vector<TrainingSource> sources, Packing packing, Documents documents,
                           int64_t vocabulary, int64_t sequence, uint64_t seed)
    : mixture_(weights_of(sources), seed), documents_(documents), vocabulary_(vocabulary), sequence_(sequence) {
  for (size_t i = 0; i < sources.size(); ++i) {
    const TokenFile& file = sources[i].file;
    if (packing != Packing::kContinuous || documents == Documents::kApart) require_documents(file);
    if (packing == Packing::kWholeDocuments) require_fitting_documents(file, sequence);
    Source source{file, seed_of(i, seed), std::nullopt, std::nullopt};
    if (packing != Packing::kContinuous) {
      source.rows.emplace(file.documents(), file.tokens(), sequence);
    } else {
      try {
        source.windows.emplace(file.tokens(), sequence, source.seed);
      } catch (const Error& error) {
        throw Error(error.code(), file.path() + ": " + error.what(), error.hint());
      }
    }
    sources_.push_back(std::move(source));
  }
}

Batch TrainingData::batch(uint64_t first_sample, int64_t rows) const {
  Batch batch = padding_batch(rows, sequence_, documents_);
  batch.first_sample = first_sample;
  for (int64_t row = 0; row < rows; ++row) {
    const Mixture::Pick pick = mixture_.pick(first_sample + static_cast<uint64_t>(row));
    const Source& source = sources_[static_cast<size_t>(pick.source)];
    if (source.windows) {
      fill_window(batch, row, source.file, vocabulary_, source.windows->offset(pick.index));
      continue;
    }
    const auto epoch_rows = static_cast<uint64_t>(source.rows->rows());
    const uint64_t place = permute_index(pick.index % epoch_rows, epoch_rows, source.seed, pick.index / epoch_rows);
    fill_segments(batch, row, source.file, vocabulary_, source.rows->row(static_cast<int64_t>(place)));
  }
  return batch;
}

std::map<std::string, std::string> TrainingData::fingerprint() const {
  if (sources_.size() == 1 && !sources_[0].rows && documents_ == Documents::kJoined) {
    return {{"training data", std::to_string(sources_[0].file.fingerprint())}};
  }
  std::ostringstream facts;
  for (size_t i = 0; i < sources_.size(); ++i) {
    facts << mixture_.parts()[i] << '*' << sources_[i].file.fingerprint();
    if (sources_[i].rows) facts << '/' << sources_[i].rows->fingerprint();
    facts << ' ';
  }
  facts << (documents_ == Documents::kApart ? "apart" : "joined");
  return {{"training data", facts.str()}};
}

std::vector<TrainingData::Share> TrainingData::shares(int64_t samples) const {
  std::vector<Share> result;
  for (size_t i = 0; i < sources_.size(); ++i) {
    Share share;
    share.path = sources_[i].file.path();
    share.tokens = sources_[i].file.tokens();
    share.part = static_cast<double>(mixture_.parts()[i]) / static_cast<double>(mixture_.period());
    share.epoch_samples = sources_[i].windows ? sources_[i].windows->windows() : sources_[i].rows->rows();
    if (sources_[i].rows) share.fullness = sources_[i].rows->fullness();
    share.taken = static_cast<int64_t>(mixture_.taken(static_cast<int64_t>(i), static_cast<uint64_t>(samples)));
    result.push_back(std::move(share));
  }
  return result;
}

}  // namespace tsugi
