// Plots as inline SVG: data in, text out, no script. Colours are CSS variables (page.cpp), so that one drawing serves
// light, dark and paper; every mark can carry a <title>, which browsers show on hovering.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

/// Text safe in HTML and SVG, in elements and quoted attributes.
std::string escape_markup(std::string_view text);

/// 1.2 M, 340 k, 18: counts as people say them.
std::string count_text(double value);
/// 8×10¹¹.
std::string scientific_text(double value);

enum class TickText { kPlain, kCount, kScientific, kPercent };

struct Axis {
  std::string label;
  bool log = false;
  TickText text = TickText::kPlain;
  /// Names of 0, 1, 2, … from the top, instead of numbers. On vertical axes only.
  std::vector<std::string> categories = {};
};

enum class Mark { kDot, kRing, kStar, kDiamond };

/// Colours of series, told apart by people who are colour-blind (Okabe and Ito 2008) and repeated after seven.
inline constexpr int kMuted = -1;  ///< grey: what does not count
inline constexpr int kInk = -2;    ///< the text's colour

/// A colour of a ramp from dark to light (on dark paper the other way round) for the i-th of `count` ordered things.
int ramp_colour(size_t i, size_t count);

struct PlotPoint {
  double x = 0.0;
  double y = 0.0;
};

/// The axes grow to hold every point, bar and line (bands and lines drawn with `fit = false` are clipped instead).
/// Values that an axis cannot show (not finite; not positive on a logarithmic one) are left out.
class Plot {
 public:
  /// `id`: of the element, and of what it refers to; letters, digits and -.
  Plot(std::string id, std::string description, Axis x, Axis y, int width = 720, int height = 430);

  void point(PlotPoint at, int colour, Mark mark, const std::string& title, const std::string& label = "");
  void line(std::vector<PlotPoint> points, int colour, bool dashed = false, const std::string& title = "",
            bool fit = true);
  /// A filled area between two curves over the same x.
  void band(const std::vector<double>& x, const std::vector<double>& low, const std::vector<double>& high, int colour);
  void horizontal_bar(double y, double low, double high, int colour, const std::string& title);
  /// Many small dots as one mark.
  void cloud(std::vector<PlotPoint> points, int colour);
  /// A filled rectangle with a text in it; `outlined` ones stand out.
  void cell(PlotPoint low, PlotPoint high, int colour, bool outlined, const std::string& title,
            const std::string& text);
  void vertical_bar(double x, double low, double high, int colour, const std::string& title);
  /// A text at a point; it moves aside for others.
  void label(PlotPoint at, const std::string& text, int colour);
  void legend(int colour, const std::string& text, bool dashed = false);
  /// The axis grows to hold this value.
  void include_x(double value);
  void include_y(double value);

  /// <svg>, which narrow screens scroll, and below it the legend.
  std::string html() const;

 private:
  struct Shape {
    enum class Kind { kPoint, kLine, kBand, kBar, kLabel, kCloud, kCell } kind = Kind::kPoint;
    std::vector<PlotPoint> points;
    int colour = 0;
    Mark mark = Mark::kDot;
    bool dashed = false;  ///< a line; a cell is outlined
    std::string title, label;
  };
  struct Range {
    double low = 0.0, high = 0.0;
    bool any = false;
  };
  struct Frame;  ///< from values to pixels

  bool shows(PlotPoint point) const;
  void include(PlotPoint point);
  static void grow(Range& extent, double value);
  std::string draw(const Shape& shape, const Frame& frame) const;

  std::string id_, description_;
  Axis x_, y_;
  int width_, height_;
  Range x_range_, y_range_;
  std::vector<Shape> shapes_;
  struct LegendEntry {
    int colour;
    std::string text;
    bool dashed;
  };
  std::vector<LegendEntry> legend_;
};

}  // namespace tsugi
