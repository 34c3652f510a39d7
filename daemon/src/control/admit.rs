//! temp
use super::Control;
use crate::join::JoinRequest;
use std::sync::Arc;
/// temp
pub async fn admit(_c: Arc<Control>, _r: JoinRequest) {}
