// Pictures of one size, in memory, with their classes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tsugi {

struct ImageSet {
  std::string name;  ///< where they come from, for messages
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;                    ///< 1 grey, 3 red, green, blue
  std::vector<uint8_t> pixels;             ///< [count, height, width, channels]
  std::vector<int32_t> labels;             ///< of each picture; empty: they have none
  std::vector<std::string> classes;        ///< names by label; empty without labels
  std::vector<std::string> captions = {};  ///< of each picture; empty: they have none

  int64_t image_bytes() const { return height * width * channels; }
  int64_t count() const { return image_bytes() == 0 ? 0 : static_cast<int64_t>(pixels.size()) / image_bytes(); }
  std::span<const uint8_t> image(int64_t index) const {
    return std::span(pixels).subspan(static_cast<size_t>(index * image_bytes()), static_cast<size_t>(image_bytes()));
  }
};

/// What is refused as too large before memory is taken for it.
struct ImageLimits {
  int64_t pixels = int64_t{1} << 26;       ///< of one picture
  int64_t file_bytes = int64_t{1} << 28;   ///< of one compressed picture
  int64_t total_bytes = int64_t{1} << 36;  ///< of all pictures, uncompressed
};

/// The pictures at `path`:
/// - an IDX file (LeCun's format of MNIST: unsigned bytes, [N, H, W] or [N, H, W, C]), also .gz; its labels are in the
///   file beside it whose name has "labels" for "images" and "idx1" for "idx3" or "idx4", if there is one, and their
///   names in classes.json beside it, else they are called by their numbers; their captions, one per line, in the file
///   beside it whose name has "captions.txt" for "images" and what follows, if there is one;
/// - or a folder of .png, .jpg and .jpeg files, sorted by name; if it has folders instead, those are the classes.
/// Alpha is dropped; grey pictures among coloured ones become coloured; 16 bits become 8.
/// Throws Error(kData) naming the file that is damaged, too large or of another size than the first;
/// Error(kInputOutput).
ImageSet read_images(const std::string& path, const ImageLimits& limits = {});

/// The contents of one PNG or JPEG file, as a set of one. `name` is for messages.
ImageSet decode_image(std::span<const uint8_t> file, const std::string& name, const ImageLimits& limits = {});

/// Captions of `images` pictures: lines of a text file. Throws Error(kData) naming file and line when they are more or
/// fewer, when one is empty, longer than 64 KiB or not UTF-8.
std::vector<std::string> read_captions(const std::string& path, int64_t images);

/// Writes `set` as IDX files FOLDER/STEM-images-idx3-ubyte (idx4 with colours) and, with labels, FOLDER/STEM-labels-
/// idx1-ubyte and FOLDER/classes.json; with captions, FOLDER/STEM-captions.txt. Labels must be below 256 (else
/// Error(kData)).
void write_idx(const ImageSet& set, const std::string& folder, const std::string& stem);
/// The images file that write_idx made; empty: there is none.
std::string find_idx(const std::string& folder, const std::string& stem);

/// The pictures of these indices.
ImageSet select_images(const ImageSet& set, std::span<const int64_t> indices);

}  // namespace tsugi
