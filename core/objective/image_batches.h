// From pictures to batches of views: what all objectives of pictures share.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/config/run.pb.h"
#include "core/data/batch.h"
#include "core/data/images/augment.h"
#include "core/data/images/image_set.h"

namespace tsugi {

/// What to learn from, and what to validate on.
struct ImageData {
  ImageSet train;
  std::optional<ImageSet> validation;
};

/// A view of a picture of a set.
struct ImageView {
  const ImageSet* set = nullptr;
  int64_t image = 0;
  uint64_t sample = 0;  ///< global index, the key of its random numbers
  uint32_t view = 0;
  bool augmented = false;
  int quarters = 0;  ///< turned counterclockwise
  int64_t tiles_across = 1;
  std::span<const uint8_t> tiles = {};  ///< their order (arrange_tiles); empty: as they are
};

class ImageBatches {
 public:
  /// `model` is a resolved VIT. Throws Error(kData) when the pictures have other channels than it.
  ImageBatches(ImageData data, const ModelConfig& model, const Augmentation& augmentation, uint64_t seed);

  const ImageData& data() const { return data_; }
  int64_t tokens() const { return patches_ + 1; }
  uint64_t seed() const { return seed_; }
  /// Throws Error(kData) unless all pictures have labels, those to validate on labels of the same classes, and there
  /// are at least `classes` of them. `objective`: its name, for the message.
  void require_labels(const std::string& objective, size_t classes) const;
  /// The picture of global sample `sample`: every epoch visits each once, in an order of its own.
  int64_t training_image(uint64_t sample) const;

  /// The random numbers of a training sample beside those of its view 0, and of a picture to validate on: the latter
  /// are the same in every run.
  RandomStream training_stream(uint64_t sample) const;
  RandomStream validation_stream(int64_t image) const;
  /// How many pictures there are to validate on, at most `limit` if it is > 0.
  int64_t validation_images(int64_t limit) const;

  /// An empty batch of `rows` rows of `patches` patches (0: of a whole picture), in host memory; targets [rows] are
  /// kIgnoreIndex.
  Batch empty(int64_t rows, int64_t patches = 0) const;
  /// The same without content.
  Batch shape(int64_t rows, int64_t patches = 0) const;
  /// The view as planes [channels, size, size].
  std::vector<float> planes(const ImageView& view) const;
  /// Row `row` becomes the view.
  void fill(const Batch& batch, int64_t row, const ImageView& view) const;

  /// Of the pictures' contents.
  std::map<std::string, std::string> fingerprint() const;

 private:
  ImageData data_;
  Augmentations augmentations_;
  uint64_t seed_;
  int64_t size_;
  int64_t patch_;
  int64_t patches_;
};

}  // namespace tsugi
