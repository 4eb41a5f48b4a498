//! A colour map of even steps in Oklch, where distances match perception.

/// Lightness of the lowest and the highest level.
const LIGHTNESS: (f64, f64) = (0.17, 0.965);

/// Hue in degrees of the lowest and the highest level: indigo through rose to straw.
const HUE: (f64, f64) = (282.0, 455.0);

/// The colour of a level in 0..=1, as sRGB.
pub fn map(level: f64) -> [u8; 3] {
    let t = level.clamp(0.0, 1.0);
    let between = |(low, high): (f64, f64)| low + (high - low) * t;
    let hue = between(HUE).to_radians();
    // The chroma is highest in the middle, and reduced where sRGB cannot represent
    // it.
    let mut chroma = 0.045 + 0.15 * (std::f64::consts::PI * t.powf(0.85)).sin().max(0.0);
    loop {
        let rgb = oklab_to_linear(between(LIGHTNESS), chroma * hue.cos(), chroma * hue.sin());
        if chroma <= 0.0 || rgb.iter().all(|x| (0.0..=1.0).contains(x)) {
            return rgb.map(|x| (encode(x.clamp(0.0, 1.0)) * 255.0).round() as u8);
        }
        chroma -= 0.004;
    }
}

/// Ottosson's matrices.
fn oklab_to_linear(l: f64, a: f64, b: f64) -> [f64; 3] {
    let long = (l + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let middle = (l - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let short = (l - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * long - 3.307_711_591_3 * middle + 0.230_969_929_2 * short,
        -1.268_438_004_6 * long + 2.609_757_401_1 * middle - 0.341_319_396_5 * short,
        -0.004_196_086_3 * long - 0.703_418_614_7 * middle + 1.707_614_701_0 * short,
    ]
}

/// The transfer function of sRGB.
fn encode(linear: f64) -> f64 {
    match linear <= 0.003_130_8 {
        true => 12.92 * linear,
        false => 1.055 * linear.powf(1.0 / 2.4) - 0.055,
    }
}

#[cfg(test)]
mod tests {
    use super::map;

    #[test]
    fn steps_of_lightness_are_even() {
        let luminance = |level: f64| -> f64 {
            map(level)
                .iter()
                .zip([0.2126, 0.7152, 0.0722])
                .map(|(&c, weight)| (f64::from(c) / 255.0).powf(2.2) * weight)
                .sum::<f64>()
                .cbrt()
        };
        let steps: Vec<f64> = (0..16)
            .map(|i| luminance(f64::from(i + 1) / 16.0) - luminance(f64::from(i) / 16.0))
            .collect();
        assert!(
            steps.iter().all(|step| (0.02..0.09).contains(step)),
            "{steps:?}"
        );
    }
}
