//! Named points at which a test can stop or kill the process. Nothing at all unless built with `--cfg portdaddy_faults`.

/// Waits or dies here if `PORT_DADDY_FAULT` names this point: `NAME=stop` or `NAME=kill`.
#[inline]
pub(crate) fn point(_name: &str) {
    #[cfg(portdaddy_faults)]
    armed(_name);
}

#[cfg(portdaddy_faults)]
fn armed(name: &str) {
    let Ok(plan) = std::env::var("PORT_DADDY_FAULT") else { return };
    let Some((at, what)) = plan.split_once('=') else { return };
    if at == name {
        crate::sys::fault(what);
    }
}
