// Which parameters the runs tell apart: the refits of the bootstrap, two parameters at a time.
#include <algorithm>
#include <cmath>

#include "launch/report/marks.h"
#include "launch/report/page.h"
#include "launch/report/table.h"
#include "launch/sweep/fit_json.h"

namespace tsugi {
namespace {

constexpr size_t kDots = 400;
constexpr double kBulk = 0.99;

double correlation(const std::vector<PlotPoint>& points, bool log_x, bool log_y) {
  double x = 0.0, y = 0.0, xx = 0.0, yy = 0.0, xy = 0.0;
  for (const PlotPoint point : points) {
    const double u = log_x ? std::log(point.x) : point.x, v = log_y ? std::log(point.y) : point.y;
    x += u;
    y += v;
    xx += u * u;
    yy += v * v;
    xy += u * v;
  }
  const double n = static_cast<double>(points.size());
  return (xy - x * y / n) / std::sqrt((xx - x * x / n) * (yy - y * y / n));
}

}  // namespace

ReportSection bootstrap_section(const SweepReport& report) {
  ReportSection section{"What the runs leave open: the bootstrap", "", {}};
  const Fit& fit = report.fit.fit;
  const Law& law = *fit.law;
  std::vector<int> free;
  for (int i = 0; i < law.parameters; ++i) {
    if ((fit.fixed >> i & 1u) == 0) free.push_back(i);
  }
  const std::vector<Theta>& samples = report.fit.bootstrap.samples;
  if (samples.empty() || free.size() < 2) {
    section.html = "<p>There are no refits of two or more parameters to compare.</p>\n";
    return section;
  }
  const auto value = [&](const Theta& theta, int i) { return law.to_public(i, theta[static_cast<size_t>(i)]); };
  const auto axis = [&](int i) {
    const Interval& interval = report.fit.interval[static_cast<size_t>(i)];
    return Axis{law.parameter[static_cast<size_t>(i)].name, interval.low > 0.0 && interval.high > 6.0 * interval.low,
                TickText::kCount};
  };
  std::vector<std::string> names;
  for (const int i : free) names.emplace_back(law.parameter[static_cast<size_t>(i)].name);
  DataTable data(names);
  for (const Theta& theta : samples) {
    std::vector<Cell> row;
    for (const int i : free) row.emplace_back(value(theta, i));
    data.add(std::move(row));
  }
  // A few refits that went elsewhere would squeeze the others into a corner.
  std::vector<Interval> bulk;
  for (const int i : free) {
    std::vector<double> values;
    for (const Theta& theta : samples) values.push_back(value(theta, i));
    bulk.push_back(percentile_interval(std::move(values), kBulk));
  }
  const auto within = [](const Interval& interval, double x) { return interval.low <= x && x <= interval.high; };
  section.html = "<figure><div class=\"scroll\"><div class=\"pairs\" style=\"grid-template-columns:repeat(" +
                 std::to_string(free.size() - 1) + ",1fr)\">\n";
  DataTable correlations({"pair", "correlation"});
  for (size_t row = 1; row < free.size(); ++row) {
    for (size_t column = 0; column < row; ++column) {
      const Axis x = axis(free[column]), y = axis(free[row]);
      Plot plot("pair-" + std::to_string(column) + "-" + std::to_string(row),
                names[row] + " over " + names[column] + " in the refits", x, y, 320, 270);
      std::vector<PlotPoint> points;
      const size_t stride = std::max<size_t>(1, samples.size() / kDots);
      for (size_t i = 0; i < samples.size(); i += stride) {
        const PlotPoint point{value(samples[i], free[column]), value(samples[i], free[row])};
        if (within(bulk[column], point.x) && within(bulk[row], point.y)) points.push_back(point);
      }
      const double together = correlation(points, x.log, y.log);
      correlations.add({names[column] + ", " + names[row], together});
      plot.cloud(std::move(points), 0);
      const PlotPoint best{fit.parameter(free[column]), fit.parameter(free[row])};
      plot.point(best, 1, Mark::kStar,
                 names[column] + " " + short_number(best.x) + ", " + names[row] + " " + short_number(best.y) +
                     "\ncorrelation " + short_number(together));
      section.html += "<div style=\"grid-column:" + std::to_string(column + 1) + ";grid-row:" + std::to_string(row) +
                      "\">\n" + plot.html() + "</div>\n";
    }
  }
  if (free.size() > 3) {  // the corner above the diagonal
    section.html += "<div class=\"corner\" style=\"grid-column:" + std::to_string(free.size() - 1) + ";grid-row:1/" +
                    std::to_string(free.size() - 1) + "\">" + correlations.html() + "</div>\n";
  }
  section.html +=
      "</div></div><figcaption>Each dot is the law fitted to as many runs drawn with replacement; stars: fitted to all "
      "runs. The outermost 1 % are left out. A narrow slanted cloud: only a combination of the two is known, and its "
      "direction says which.</figcaption>"
      "</figure>\n";
  section.data.emplace_back("bootstrap.csv", data.csv());
  section.data.emplace_back("correlations.csv", correlations.csv());
  return section;
}

}  // namespace tsugi
