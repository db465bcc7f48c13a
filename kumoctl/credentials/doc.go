// Package credentials makes, reads and changes the folders of credentials with which
// daemons and operators come to a cluster's bus.
//
//	DIR/ca/            the authorities' certificates and keys: for whoever makes credentials, and nobody else
//	DIR/manager/       for managers, and so on: server, gateway, admin, readonly, observer
//	    tls.crt        the certificate of client connections, at either end of them
//	    tls.key
//	    ca.crt         the authorities of such certificates
//	    nkey.seed      the private key of the identity
//	  and, of managers and servers:
//	    mesh.crt       the certificate of connections between them
//	    mesh.key
//	    mesh-ca.crt    the authorities of such certificates
//	    identities     who may connect
//
// What each role may do there is subjects.RightsTable.
package credentials
